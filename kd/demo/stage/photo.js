// ---- the photo with the square that the networks see -----------------------------------------------

const KEY_STEP = 0.05, KEY_ZOOM = 1.15; // a key press moves the square by this share of its way, or zooms by this factor
const CENTRE = { across: 0.5, down: 0.5, side: 1 }; // as in kd/photo.py
const CAMERA = "Capture from camera", UPLOAD = "Upload file", PASTE = "Paste from clipboard"; // as Gradio names its buttons
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

function buildPhoto(stage) {
  const { $, props } = stage, { whole, picture } = partsOf(stage), square = squareOf(stage), setLarge = enlargedByTouch(stage);
  const howSure = stage.explain(make("button", { type: "button", className: "word", textContent: "How sure is this?" }), () => stage.value.warning.rates);
  followPointers(stage, square);
  followKeys(stage, square);
  const endCoveredCamera = buildWaysIn(stage);
  $("#whole-photo").addEventListener("click", () => square.set(square.crop ? null : CENTRE));
  $("#photo-note").textContent = props.note;
  let file = null; // of the photo shown; null for an example
  let warned = ""; // told anew, a screen reader would say it at each answer

  stage.views.push({
    show(value) {
      stage.element.classList.remove("camera");
      endCoveredCamera();
      if (value?.file !== file) setLarge(false); // not by the answer to a square that is being moved
      const sentence = value?.warning?.sentence ?? "";
      if (sentence !== warned || value?.file !== file) $("#out-of-class").replaceChildren(...(sentence ? [sentence, " ", howSure] : []));
      warned = sentence;
      if (!value?.models) return;
      const moving = value.file && value.file === file && stage.source.waiting; // a newer square is being asked for
      ({ file } = value);
      if (!moving) {
        square.crop = value.crop;
        picture.src = value.picture;
      }
      whole.src = value.photo ?? value.picture;
      picture.alt = value.example ? `${article(value.example)} at ${props.image_size} x ${props.image_size} pixels` : `The square at ${props.image_size} x ${props.image_size} pixels`;
      square.node.tabIndex = value.file ? 0 : -1;
      square.node.setAttribute("aria-label", value.file ? "The square that the networks see: arrow keys move it, plus and minus zoom it" : "What the networks see");
      if (value.file && document.activeElement === $("#own-photo")) square.node.focus({ preventScroll: true }); // the button is gone
      $("#photo").classList.toggle("own", Boolean(value.file));
      $("#whole-photo").hidden = !value.file || value.width === value.height;
      square.place();
    },
  });
}

const partsOf = ({ $ }) => ({ panel: $("#photo"), whole: $("#photo .whole"), node: $("#crop"), picture: $("#crop img") });
const movable = (stage) => Boolean(stage.value?.file); // an example is not
const narrow = window.matchMedia("(max-width: 63.99em)"); // as stage.css has it

// The square: where it lies, and what sets it to another place. `crop` is {across, down, side}, as in kd/photo.py; null
// is the whole photo with margins.
function squareOf(stage) {
  const { $, props } = stage, { whole, node, picture } = partsOf(stage), inputSide = props.image_size;
  const canvas = make("canvas", { width: inputSide, height: inputSide });
  const square = { node, crop: null, places, place, set, at, zoom };

  // Where the photo and the square lie in the panel, in shares of the panel's side.
  function places() {
    const { width, height } = stage.value, longer = Math.max(width, height), { crop } = square;
    const w = width / longer, h = height / longer, left = (1 - w) / 2, top = (1 - h) / 2;
    const side = crop ? crop.side * Math.min(w, h) : 1;
    return crop
      ? { w, h, left, top, side, x: left + (w - side) * crop.across, y: top + (h - side) * crop.down }
      : { w, h, left, top, side, x: 0, y: 0 };
  }

  function place() {
    const { x, y, side } = places();
    Object.assign(node.style, { left: `${x * 100}%`, top: `${y * 100}%`, width: `${side * 100}%`, height: `${side * 100}%` });
    $("#whole-photo").setAttribute("aria-pressed", String(square.crop === null));
  }

  // At once as the browser shrinks it; the exact pixels come with the logits.
  function preview() {
    const { x, y, side, left, top } = places(), scale = Math.max(whole.naturalWidth, whole.naturalHeight);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.fillRect(0, 0, inputSide, inputSide);
    const [w, h] = [whole.naturalWidth / scale / side * inputSide, whole.naturalHeight / scale / side * inputSide];
    context.drawImage(whole, (left - x) / side * inputSide, (top - y) / side * inputSide, w, h);
    picture.src = canvas.toDataURL();
  }

  function set(crop) {
    square.crop = crop;
    place();
    preview();
    stage.source.crop({ file: stage.value.file, whole: crop === null, ...crop });
  }

  // The crop whose square has this place and side in the panel.
  function at(x, y, side) {
    const { w, h, left, top } = places(), shorter = Math.min(w, h);
    const ofShorter = clamp(side / shorter, props.min_side, 1); // exactly: the server takes nothing below min_side
    const share = (from, size) => (size > ofShorter * shorter + 1e-9 ? clamp(from / (size - ofShorter * shorter), 0, 1) : 0.5);
    return { across: share(x - left, w), down: share(y - top, h), side: ofShorter };
  }

  // Around the square's centre; out of the largest square comes the whole photo.
  function zoom(factor) {
    const { crop } = square;
    if (!crop) { if (factor < 1) set(CENTRE); return; }
    if (factor > 1 && crop.side === 1) { if (stage.value.width !== stage.value.height) set(null); return; }
    const { x, y, side } = places(), larger = side * factor;
    set(at(x + (side - larger) / 2, y + (side - larger) / 2, larger));
  }

  return square;
}

// In a narrow window the square is moved on a photo that a first touch has made larger. Returns what makes it so or not.
function enlargedByTouch(stage) {
  const { panel } = partsOf(stage), setLarge = (large) => panel.classList.toggle("large", large);
  panel.addEventListener("click", ({ target }) => { // which a finger that scrolls the page is not
    if (movable(stage) && narrow.matches && !target.closest("button")) setLarge(true);
  });
  document.addEventListener("pointerdown", ({ target }) => { if (!panel.contains(target)) setLarge(false); });
  panel.addEventListener("keydown", ({ key }) => { if (key === "Escape") setLarge(false); });
  panel.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget && !panel.contains(relatedTarget)) setLarge(false); });
  return setLarge;
}

// One finger or the mouse moves the square, two zoom it, its corner makes it larger or smaller.
function followPointers(stage, square) {
  const { panel, node } = partsOf(stage), pointers = new Map();
  let grip = null; // {file, corner, at, pointer, apart}
  const inPanel = (event) => {
    const box = panel.getBoundingClientRect();
    return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
  };
  const apart = () => { const [a, b] = pointers.values(); return Math.hypot(a.x - b.x, a.y - b.y); };

  node.addEventListener("pointerdown", (event) => {
    if (!movable(stage) || event.button || (narrow.matches && !panel.matches(".large"))) return;
    node.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, inPanel(event));
    grip = { file: stage.value.file, corner: event.target.matches(".corner"), at: square.places(), pointer: inPanel(event), apart: pointers.size === 2 ? apart() : 0 };
  });
  node.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    // A menu may have taken the button's release; another photo, or an example, may have come under the hand.
    if (!event.buttons || stage.value?.file !== grip.file) { pointers.clear(); return; }
    pointers.set(event.pointerId, inPanel(event));
    const { at } = grip, dx = inPanel(event).x - grip.pointer.x, dy = inPanel(event).y - grip.pointer.y;
    if (pointers.size === 2 && grip.apart) {
      const side = at.side * grip.apart / apart();
      square.set(square.at(at.x + (at.side - side) / 2, at.y + (at.side - side) / 2, side));
    } else if (grip.corner) square.set(square.at(at.x, at.y, at.side + Math.max(dx, dy)));
    else if (square.crop) square.set(square.at(at.x + dx, at.y + dy, at.side));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    node.addEventListener(end, () => pointers.clear()); // the finger that is left of two moves nothing
  }
  panel.addEventListener("dragstart", (event) => event.preventDefault()); // the browser's own dragging of pictures
  panel.addEventListener("wheel", (event) => { // with Ctrl, as a pinch on a touchpad also arrives: plain scrolling scrolls
    if (!movable(stage) || !event.ctrlKey) return;
    event.preventDefault();
    square.zoom(Math.exp(event.deltaY / 200));
  }, { passive: false });
}

function followKeys(stage, square) {
  square.node.addEventListener("keydown", (event) => {
    if (!movable(stage)) return;
    const key = plainKey(event), move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key], { crop } = square;
    if (move && crop) {
      square.set({ ...crop, across: clamp(crop.across + KEY_STEP * move[0], 0, 1), down: clamp(crop.down + KEY_STEP * move[1], 0, 1) });
    } else if (key === "+" || key === "=") square.zoom(1 / KEY_ZOOM);
    else if (key === "-") square.zoom(KEY_ZOOM);
    else if (!move) return;
    event.preventDefault();
  });
}

// Photos go to the component of uploads, which lies below: by its button, or dropped on the one shown. Returns what ends
// its camera where something else covers it.
function buildWaysIn(stage) {
  const { panel } = partsOf(stage), input = () => document.querySelector("#image input[type=file]");
  const button = (way) => document.querySelector(`#image button[aria-label="${way}"]`);
  const choose = (node) => node.click();
  const inAFrame = (use) => requestAnimationFrame(() => { if (input()) use(input()); });
  // Gradio has no input while its clipboard is the way in, or a photo is shown, and makes one when files are the way again.
  function withInput(use) {
    if (input()) { use(input()); return; }
    button(UPLOAD)?.click();
    inAFrame(use);
  }
  stage.$("#own-photo").addEventListener("click", () => withInput(choose));
  panel.addEventListener("dragover", (event) => event.preventDefault());
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    const { files } = event.dataTransfer;
    if (!files.length) return;
    withInput((node) => {
      node.files = files;
      node.dispatchEvent(new Event("change", { bubbles: true }));
    });
  });
  // Its camera needs the place of the photo, until another way in is chosen or something is shown. Its icon for files
  // only makes room for an input, and that lies under the photo.
  document.addEventListener("click", (event) => {
    const way = event.target.closest?.("#image button")?.ariaLabel;
    if (![CAMERA, UPLOAD, PASTE].includes(way)) return;
    stage.element.classList.toggle("camera", way === CAMERA);
    if (!event.isTrusted) return;
    if (way === CAMERA && camera()?.every(({ readyState }) => readyState === "ended")) { // Gradio begins none anew
      event.stopPropagation();
      button(UPLOAD).click();
      requestAnimationFrame(() => button(CAMERA).click());
    }
    if (way !== UPLOAD) return;
    if (camera() || !input()) { inAFrame(choose); return; }
    event.stopPropagation(); // what is shown stays until a file is chosen
    choose(input());
  }, true);
  // The tracks of Gradio's camera, once it films; a page without a server ends its own.
  const camera = () => button(UPLOAD) && document.querySelector("#image video")?.srcObject?.getTracks();
  function endCoveredCamera() {
    if (!camera() || !stage.value?.models || stage.element.matches(".camera")) return;
    for (const track of camera()) track.stop();
    if (stage.value.example) button(UPLOAD).click(); // beside a photo this would take the photo away
  }
  document.addEventListener("play", endCoveredCamera, true); // the browser may have asked for leave meanwhile
  return endCoveredCamera;
}
