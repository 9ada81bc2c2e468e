// ---- the chart: a table whose rows hold the teacher's bar and a mark for each student -----------------

const SHOWN = 10; // classes with a row on the screen, the likeliest; the others share one
const LOG_DECADES = 4; // of the logarithmic scale: .01 % to 100 %
// For a projector: the size by which the page measures its texts, so far as the slider stays in the first view.
const LARGE_TYPE = "clamp(100%, 2.9vh, 125%)";
const AXES = { linear: ["0", "25", "50", "75", "100%"], log: ["≤ 0.01", "0.1", "1", "10", "100%"] };

// How long a bar is, as a share of its room.
const lengthOf = (p, log) => (log ? Math.max(0, 1 + Math.log10(p) / LOG_DECADES) : p);

// A row: the teacher's bar and the one of the photo before, a mark for each student, and the numbers.
function chartRow(name) {
  const bars = {}, cells = {}, texts = {};
  bars.teacher = make("span", { className: "bar teacher" });
  bars.ghost = make("span", { className: "bar ghost" });
  for (const role of STUDENTS) bars[role] = make("span", { className: "way" }, make("span", { className: `mark ${role}` }));
  for (const role of ROLES) {
    texts[role] = document.createTextNode("");
    cells[role] = make("td", { className: `number ${role}` }, texts[role]);
    cells[role].dataset.model = role;
  }
  const room = make("td", { className: "chart", ariaHidden: "true" },
    make("span", { className: "room" }, bars.teacher, bars.ghost, bars.student, bars.distilled));
  const row = make("tr", {}, make("th", { scope: "row", textContent: name }), room, ...Object.values(cells));
  return { name, row, bars, cells, texts };
}

function buildChart(stage) {
  const { $, options, logP } = stage, table = $("#soft-targets-table"), ghostP = new Float64Array(stage.classes.length);
  const orderSwitch = $("#order"), logSwitch = $("#log-scale"), ghostSwitch = $("#ghost"), numbersSwitch = $("#all-numbers"), largeSwitch = $("#large-type");
  const wide = window.matchMedia("(min-width: 64em)"); // as stage.css has it

  // Marks are pushed along their room (100cqw), bars are scaled: nothing is laid out anew when they move.
  const setBar = (bar, p) => { bar.style.transform = `scaleX(${lengthOf(p, options.log)})`; };
  const setMark = (mark, p) => { mark.style.transform = `translateX(${lengthOf(p, options.log) * 100}cqw)`; };
  function fill({ bars, cells, texts }, role, p) {
    cells[role].dataset.value = p;
    texts[role].data = percent(p);
    (role === "teacher" ? setBar : setMark)(bars[role], p);
  }

  const rows = stage.classes.map((name) => {
    const made = chartRow(name);
    made.row.dataset.class = name;
    return made;
  });
  table.tBodies[0].replaceChildren(...rows.map(({ row }) => row));
  const rest = rows.length > SHOWN ? chartRow(`${rows.length - SHOWN} others`) : null;
  if (rest) table.tFoot.replaceChildren(rest.row);
  const restOf = (logs) => stage.order.slice(SHOWN).reduce((sum, k) => sum + Math.exp(logs[k]), 0);

  // Rows stay in class order in the document and are moved on the screen alone.
  function arrange() {
    const shown = stage.order.slice(0, SHOWN), inClassOrder = [...shown].sort((a, b) => a - b);
    if (rest) rows.forEach(({ row }, k) => row.classList.toggle("beyond", !shown.includes(k)));
    stage.places = options.order === "teacher" ? shown : inClassOrder;
    stage.places.forEach((k, place) => rows[k].row.style.setProperty("--shift", place - inClassOrder.indexOf(k)));
    stage.element.classList.toggle("ghosts", options.ghost && stage.previous !== null);
    $("#no-ghost").hidden = !options.ghost || stage.previous !== null;
    const axis = AXES[options.log ? "log" : "linear"];
    table.querySelector("thead .axis").replaceChildren(...axis.map((text) => make("span", { textContent: text })));
    orderSwitch.value = options.order;
    logSwitch.checked = options.log;
    ghostSwitch.checked = options.ghost;
    largeSwitch.checked = options.large;
    document.documentElement.style.fontSize = options.large && wide.matches ? LARGE_TYPE : "";
  }

  function draw() {
    table.dataset.temperature = stage.T;
    if (!stage.value?.models) return;
    for (const role of ROLES) {
      for (let k = 0; k < rows.length; k++) fill(rows[k], role, Math.exp(logP[role][k]));
      if (rest) fill(rest, role, restOf(logP[role]));
    }
    if (options.ghost && stage.previous) { // the teacher's distribution of the image before, at the present T
      logSoftmax(stage.previous.models.teacher.logits, stage.T, ghostP);
      rows.forEach(({ bars }, k) => setBar(bars.ghost, Math.exp(ghostP[k])));
      if (rest) setBar(rest.bars.ghost, restOf(ghostP));
    }
  }

  function show(value) {
    if (value?.models) rows.forEach(({ row }, k) => row.classList.toggle("first", k === stage.order[0]));
    arrange();
  }

  for (const control of [orderSwitch, logSwitch, ghostSwitch, largeSwitch]) {
    control.addEventListener("change", () => {
      const [log, ghost, large] = [logSwitch, ghostSwitch, largeSwitch].map(({ checked }) => checked);
      stage.setOptions({ order: orderSwitch.value, log, ghost, large });
    });
  }
  wide.addEventListener("change", arrange);
  numbersSwitch.addEventListener("change", () => stage.element.classList.toggle("numbers", numbersSwitch.checked));
  stage.rowsShown = () => [...stage.places.map((k) => rows[k]), ...(rest ? [rest] : [])]; // for the saved picture
  stage.views.push({ draw, show, arrange });
}
