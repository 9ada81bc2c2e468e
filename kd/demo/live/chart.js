// ---- the live chart: a table whose rows are bars ------------------------------------------------------

const LOG_DECADES = 4; // of the logarithmic scale: .01 % to 100 %
const AXES = { linear: ["0", "25", "50", "75", "100 %"], log: ["≤ .01", "0.1", "1", "10", "100 %"] };

const table = $("#soft-targets-table");
const orderSwitch = $("#order"), logSwitch = $("#log-scale"), ghostSwitch = $("#ghost");
const logP = {}; // role -> log softmax(logits / T), filled anew at each drawing; likewise of the ghost, and at T = 1
let answers = null; // role -> {logits, ...} of the present image
let previous = null; // the same of the image before
let rows = []; // in class order: {row, bars, cells, texts} and the ghost's {bar, text}
let foot = null; // the sums, likewise
let order = []; // the teacher's: class positions, the likeliest first

const lengthOf = (p) => (logSwitch.checked ? Math.max(0, 1 + Math.log10(p) / LOG_DECADES) : p);
// A bar is as long as its room and pushed out of it to the left: nothing is laid out anew when it moves.
const setBar = (bar, p) => { bar.style.transform = `translateX(${(lengthOf(p) - 1) * 100}%)`; };

// A row of the table: its heading, the bars of all networks in one room, and a number for each.
function buildRow(heading) {
  const bars = {}, cells = {}, texts = {};
  for (const role of ROLES) {
    bars[role] = make("span", { className: `bar ${role}` });
    texts[role] = document.createTextNode("");
    cells[role] = make("td", { className: `number ${role}` }, texts[role]);
  }
  bars.ghost = make("span", { className: "bar ghost" });
  texts.ghost = document.createTextNode("");
  const room = make("td", { className: "chart", ariaHidden: "true" },
    make("span", { className: "room" }, ...Object.values(bars)));
  const row = make("tr", {}, make("th", { scope: "row", textContent: heading }), room, ...Object.values(cells),
    make("td", { className: "number ghost" }, texts.ghost));
  return { row, bars, cells, texts };
}

function buildTable(classes) {
  for (const role of ROLES) {
    table.querySelector(`thead th.${role}`).textContent = answers[role].name;
  }
  for (const name of [...ROLES, "ghost", "plain"]) logP[name] = new Float64Array(classes.length);
  order = descending(answers.teacher.logits);
  rows = classes.map(buildRow);
  rows.forEach(({ row, cells }, k) => {
    row.dataset.class = classes[k];
    row.classList.toggle("wrong", k !== order[0]);
    for (const role of ROLES) cells[role].dataset.model = role;
  });
  foot = buildRow("dark knowledge");
  for (const role of ROLES) foot.cells[role].dataset.dark = role;
  table.tBodies[0].replaceChildren(...rows.map(({ row }) => row));
  table.tFoot.replaceChildren(foot.row);
  sortRows();
}

// Rows stay in class order in the document and are moved on the screen alone.
function sortRows() {
  const places = orderSwitch.value === "teacher" ? order : order.map((_, k) => k);
  places.forEach((k, place) => rows[k].row.style.setProperty("--shift", place - k));
}

function drawChart() {
  table.dataset.temperature = T;
  for (const role of ROLES) {
    logSoftmax(answers[role].logits, T, logP[role]);
    let dark = 0; // the probability of everything but the teacher's first answer
    for (let k = 0; k < rows.length; k++) {
      const p = Math.exp(logP[role][k]), { bars, cells, texts } = rows[k];
      if (k !== order[0]) dark += p;
      cells[role].dataset.value = p;
      texts[role].data = percent(p);
      setBar(bars[role], p);
    }
    foot.cells[role].dataset.value = dark;
    foot.texts[role].data = percent(dark);
    setBar(foot.bars[role], dark);
  }
  if (ghostSwitch.checked && previous) drawGhost();
}

// The teacher's distribution of the image before, at the present T.
function drawGhost() {
  logSoftmax(previous.teacher.logits, T, logP.ghost);
  for (let k = 0; k < rows.length; k++) {
    const p = Math.exp(logP.ghost[k]);
    rows[k].texts.ghost.data = percent(p);
    setBar(rows[k].bars.ghost, p);
  }
}

function showOptions() {
  element.classList.toggle("ghosts", ghostSwitch.checked && previous !== null);
  $("#no-ghost").hidden = !ghostSwitch.checked || previous !== null;
  const axis = AXES[logSwitch.checked ? "log" : "linear"];
  table.querySelector("thead .axis").replaceChildren(...axis.map((text) => make("span", { textContent: text })));
  if (answers) sortRows();
  requestDraw();
}

for (const option of [orderSwitch, logSwitch, ghostSwitch]) {
  option.addEventListener("change", () => { showOptions(); settleLater(); });
}
