// The live view. Gradio calls this once with `element` (the component's root), `props` (whose value
// holds the three networks' answers for the present image) and `watch`. From then on everything
// happens here: dragging the temperature sends nothing to the server.

const MIN_T = 0.5, MAX_T = 20, START_T = 4;
const TICKS = [[0.5, ""], [1, "plain softmax"], [2, ""], [4, ""], [8, ""], [20, ""]];
const ROLES = ["teacher", "student", "distilled"];

const $ = (selector) => element.querySelector(selector);
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const percent = (p) => (p * 100).toFixed(p < 0.0995 ? 2 : 1) + " %";

// ---- mathematics -----------------------------------------------------------------------------

// log softmax(logits / T), of one image; stable for logits of any size
function logSoftmax(logits, T) {
  const scaled = logits.map((z) => z / T);
  const largest = Math.max(...scaled);
  const logSum = largest + Math.log(scaled.reduce((sum, z) => sum + Math.exp(z - largest), 0));
  return scaled.map((z) => z - logSum);
}
const entropy = (logP) => -logP.reduce((sum, l) => sum + Math.exp(l) * l, 0);
const divergence = (logP, logQ) => logP.reduce((sum, l, k) => sum + Math.exp(l) * (l - logQ[k]), 0);

// ---- the temperature -------------------------------------------------------------------------

// The slider's own value is log2 T, so that each doubling of T takes the same way.
const slider = $("#temperature-slider"), number = $("#temperature-number");
let T = START_T;

// where a temperature stands on the slider and on the figure's axis, 0 to 1
const placeOf = (t) => Math.log2(t / MIN_T) / Math.log2(MAX_T / MIN_T);

function buildSlider() {
  Object.assign(slider, { min: Math.log2(MIN_T), max: Math.ceil(Math.log2(MAX_T) * 100) / 100, step: 0.01 });
  $("#temperature-ticks").replaceChildren(...TICKS.map(([t, text]) => {
    const tick = make("button", { type: "button", textContent: `${t}\n${text}`, tabIndex: -1 });
    tick.style.setProperty("--place", placeOf(t));
    tick.addEventListener("click", () => setTemperature(t));
    return tick;
  }));
}

function setTemperature(t, source) {
  T = Math.min(MAX_T, Math.max(MIN_T, t));
  if (source !== slider) slider.value = Math.log2(T);
  if (source !== number) number.value = T.toFixed(2);
  requestDraw();
}

slider.addEventListener("input", () => setTemperature(2 ** slider.valueAsNumber, slider));
number.addEventListener("input", () => Number.isFinite(number.valueAsNumber) && setTemperature(number.valueAsNumber, number));
number.addEventListener("change", () => setTemperature(T)); // an emptied or outlying number shows the real T again

// ---- the live chart: a table whose cells are bars -------------------------------------------------

let cells = null; // role -> per class {cell, bar, text}
let answers = null; // role -> {logits, ...}

function buildTable(classes, names) {
  const head = $("#soft-targets-table thead tr"), body = $("#soft-targets-table tbody");
  head.replaceChildren(head.firstElementChild, ...ROLES.map((role) =>
    make("th", { scope: "col", className: role, textContent: names[role] })));
  cells = Object.fromEntries(ROLES.map((role) => [role, []]));
  body.replaceChildren(...classes.map((name) => {
    const row = make("tr", {}, make("th", { scope: "row", textContent: name }));
    row.dataset.class = name;
    for (const role of ROLES) {
      const bar = make("span", { className: "bar" }), text = make("span", { className: "number" });
      const cell = make("td", { className: role }, make("span", { className: "bar-room" }, bar), text);
      cell.dataset.model = role;
      cells[role].push({ cell, bar, text });
      row.append(cell);
    }
    return row;
  }));
}

function draw() {
  for (const output of element.querySelectorAll(".temperature-text")) output.textContent = T.toFixed(2);
  slider.setAttribute("aria-valuetext", `T = ${T.toFixed(2)}`);
  markCurves();
  if (!answers) return;
  $("#soft-targets-table").dataset.temperature = T;
  const logP = {};
  for (const role of ROLES) {
    logP[role] = logSoftmax(answers[role].logits, T);
    logP[role].forEach((l, k) => {
      const p = Math.exp(l), { cell, bar, text } = cells[role][k];
      cell.dataset.value = p;
      bar.style.transform = `scaleX(${p})`;
      text.textContent = percent(p);
    });
  }
  $('[data-measure="entropy"]').textContent = entropy(logP.teacher).toFixed(3) + " nats";
  $('[data-measure="kl-student"]').textContent = divergence(logP.teacher, logP.student).toFixed(3) + " nats";
  $('[data-measure="kl-distilled"]').textContent = divergence(logP.teacher, logP.distilled).toFixed(3) + " nats";
}

// Draw at once, then at most once a frame, and always end at the last value.
let drawnThisFrame = false, drawAgain = false;
function requestDraw() {
  if (drawnThisFrame) { drawAgain = true; return; }
  draw();
  drawnThisFrame = true;
  requestAnimationFrame(() => {
    drawnThisFrame = false;
    if (drawAgain) { drawAgain = false; requestDraw(); }
  });
}

// The line that marks T in the figure of curves is drawn by the style sheet from these properties.
function markCurves() {
  // Set on the figure itself: on the whole document, every move would restyle the whole page.
  const curves = document.getElementById("curves");
  if (!curves) { setTimeout(markCurves, 100); return; } // it is mounted after the live view
  curves.style.setProperty("--place", placeOf(T));
  curves.style.setProperty("--temperature", `"T = ${T.toFixed(2)}"`);
}

// ---- the three cards -----------------------------------------------------------------------------

function buildCard(role, { name, architecture, parameters, size, label, confidence, milliseconds, probabilities }, classes) {
  const rows = classes.map((text, k) => {
    const bar = make("span", { className: "bar" });
    bar.style.transform = `scaleX(${probabilities[k]})`;
    return make("li", {}, make("span", { textContent: text }), make("span", { className: "bar-room" }, bar),
      make("span", { className: "number", textContent: percent(probabilities[k]) }));
  });
  const card = make("article", { className: `card ${role}` },
    make("h3", { textContent: name }, make("small", { textContent: architecture })),
    make("p", { className: "label", textContent: label }),
    make("p", { className: "confidence", textContent: `${percent(confidence)} sure` }),
    make("ol", {}, ...rows),
    make("p", { className: "costs", textContent: `${milliseconds.toFixed(0)} ms · ${parameters} parameters · ${size}` }));
  card.dataset.model = role;
  return card;
}

// ---- a new image -----------------------------------------------------------------------------------

function show() {
  const value = props.value;
  element.classList.toggle("empty", !value);
  answers = value ? value.models : null;
  if (value) {
    buildTable(value.classes, Object.fromEntries(ROLES.map((role) => [role, answers[role].name])));
    $("#answers").replaceChildren(...ROLES.map((role) => buildCard(role, answers[role], value.classes)));
  }
  requestDraw();
}

buildSlider();
setTemperature(START_T);
show();
watch("value", show);
