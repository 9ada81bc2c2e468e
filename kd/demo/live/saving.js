// ---- saving the chart: an SVG drawn from the present numbers, or a PNG of it ----------------------------

const SVG = "http://www.w3.org/2000/svg";
const PICTURE = { width: 720, row: 34, top: 76, left: 130, room: 330, numbers: [540, 620, 700], pixelRatio: 2 };

const SHORT_NAMES = { teacher: "Teacher", student: "Alone", distilled: "Distilled" };

// The chart as an SVG element, in the page's own colours and in the order on the screen.
function drawPicture() {
  const { width, row, top, left, room, numbers } = PICTURE;
  const colours = getComputedStyle(element), ink = colours.color, ground = getComputedStyle(document.body).backgroundColor;
  const height = top + row * (rows.length + 1) + 16;
  const svg = document.createElementNS(SVG, "svg");
  const add = (tag, attributes, text = "") => {
    const node = svg.appendChild(document.createElementNS(SVG, tag));
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
  };
  const write = (x, y, text, more = {}) => add("text", { x, y, fill: ink, ...more }, text);
  const frame = { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "system-ui, sans-serif", "font-size": 13 };
  for (const [name, value] of Object.entries(frame)) svg.setAttribute(name, value);
  add("rect", { width, height, fill: ground });
  const title = `Soft targets at T = ${T.toFixed(2)}` + (logSwitch.checked ? ", logarithmic scale" : "");
  write(16, 28, title, { "font-size": 16, "font-weight": 700 });
  ROLES.forEach((role, i) => write(numbers[i], 60, SHORT_NAMES[role], {
    "text-anchor": "end", "font-weight": 600, fill: colours.getPropertyValue(`--${role}`),
  }));
  const places = orderSwitch.value === "teacher" ? order : order.map((_, k) => k);
  const lines = [...places.map((k) => [props.value.classes[k], rows[k]]), ["dark knowledge", foot]];
  lines.forEach(([name, { cells, texts }], place) => {
    const y = top + row * place;
    write(16, y + 17, name);
    add("rect", { x: left, y, width: room, height: row - 8, fill: ink, "fill-opacity": 0.07 });
    ROLES.forEach((role, i) => {
      const [offset, height] = [[0, 12], [13, 6], [20, 6]][i], length = room * lengthOf(+cells[role].dataset.value);
      add("rect", { x: left, y: y + offset, width: length, height, fill: colours.getPropertyValue(`--${role}`) });
      write(numbers[i], y + 17, texts[role].data, { "text-anchor": "end" });
    });
  });
  return svg;
}

const svgText = () => new XMLSerializer().serializeToString(drawPicture());

async function pngOf(svg) {
  const picture = new Image();
  picture.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
  await picture.decode();
  const canvas = make("canvas", { width: picture.width * PICTURE.pixelRatio, height: picture.height * PICTURE.pixelRatio });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function save(blob, extension) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: `soft-targets-${props.value.example ?? "photo"}-T${T.toFixed(2)}.${extension}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // the browser reads it after the click
}

$("#save-svg").addEventListener("click", () => save(new Blob([svgText()], { type: "image/svg+xml" }), "svg"));
$("#save-png").addEventListener("click", async () => save(await pngOf(svgText()), "png"));
