// The class it never saw. Gradio calls this once with `element`, `props` and `watch`; dragging the bias sends
// nothing to the server.

const ROLES = ["teacher", "unseen"];
const $ = (selector) => element.querySelector(selector);
const slider = $("#bias-slider");
let rows = []; // in class order: {bars, cells} by role

const percent = (p) => (p * 100).toFixed(p < 0.0995 ? 2 : 1) + " %";
const signed = (bias) => (bias < 0 ? "−" : "+") + Math.abs(bias).toFixed(2);

function softmax(logits) {
  const largest = Math.max(...logits), powers = logits.map((z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function build({ classes, unseen }) {
  rows = classes.map((name, k) => {
    const row = document.createElement("tr"), heading = document.createElement("th"), chart = document.createElement("td");
    const room = document.createElement("span"), bars = {}, cells = {};
    heading.scope = "row";
    heading.textContent = name;
    chart.className = "chart";
    chart.ariaHidden = "true";
    room.className = "room";
    chart.append(room);
    row.append(heading, chart);
    row.dataset.class = name;
    row.classList.toggle("never", k === unseen);
    for (const role of ROLES) {
      bars[role] = document.createElement("span");
      bars[role].className = `bar ${role}`;
      room.append(bars[role]);
      cells[role] = document.createElement("td");
      cells[role].className = `number ${role}`;
      cells[role].dataset.model = role;
      row.append(cells[role]);
    }
    return { row, bars, cells };
  });
  $("tbody").replaceChildren(...rows.map(({ row }) => row));
}

function draw() {
  const value = props.value;
  if (!value) return;
  const bias = slider.valueAsNumber, answers = {};
  for (const role of ROLES) {
    const logits = value.logits[role].slice();
    if (role === "unseen") logits[value.unseen] += bias;
    const probabilities = softmax(logits);
    answers[role] = value.classes[probabilities.indexOf(Math.max(...probabilities))];
    rows.forEach(({ bars, cells }, k) => {
      bars[role].style.transform = `translateX(${(probabilities[k] - 1) * 100}%)`;
      cells[role].textContent = percent(probabilities[k]);
      cells[role].dataset.value = probabilities[k];
    });
  }
  $("#bias-text").textContent = signed(bias);
  slider.setAttribute("aria-valuetext", signed(bias));
  $(".verdict").textContent = `The teacher says ${answers.teacher}; the student that never saw a ${value.classes[value.unseen]} says ${answers.unseen}.`;
}

function setBias(bias) {
  slider.value = bias;
  draw();
}

function show() {
  const value = props.value;
  element.classList.toggle("empty", !value);
  if (!value) return;
  build(value);
  $(".unseen-name").textContent = value.classes[value.unseen];
  $("#bias-corrected").textContent = `Corrected: ${signed(value.bias)}`;
  draw();
}

slider.addEventListener("input", draw);
$("#bias-corrected").addEventListener("click", () => setBias(props.value.bias));
$("#bias-none").addEventListener("click", () => setBias(0));
slider.value = 0;
show();
watch("value", show);
