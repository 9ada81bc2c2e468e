// ---- what the loss pulls: the gradients of its two parts at the logits of a student ----------------------

const LEAST_SCALE = 0.01; // what the longest arrow stands for, at least: below it there is nothing to be seen
const MAX_STEP_SIZE = 4; // of "take a step", in logits a unit of gradient; a longer one could miss the loss's minimum

function signed(x) {
  const size = Math.abs(x).toFixed(3);
  return (Number(size) === 0 ? "" : x < 0 ? "−" : "+") + size;
}

const PARTS = ["hard", "soft"];

// The descent directions in a student's logits, a class each: y - p for the hard part, T (p_teacher - p_student) at T
// for the soft part with its T squared, and 1 / T of the difference without it.
//
// z: the student's logits; logTeacher: the teacher's log p at T; label: a class's position.
function pullsOf(z, logTeacher, label, T, withSquare) {
  const plain = logSoftmax(z, 1, []), soft = logSoftmax(z, T, []), factor = withSquare ? T : 1 / T;
  return z.map((_, k) => ({
    hard: Number(k === label) - Math.exp(plain[k]),
    soft: factor * (Math.exp(logTeacher[k]) - Math.exp(soft[k])),
  }));
}

// The loss's two parts with their weights, (1 - a) CE and a T^2 KL, as in kd/losses.py; without T squared a KL.
function lossOf(z, logTeacher, label, T, withSquare, a) {
  return {
    hard: -(1 - a) * logSoftmax(z, 1, [])[label],
    soft: a * (withSquare ? T ** 2 : 1) * divergence(logTeacher, logSoftmax(z, T, [])),
  };
}

// A class's row: the student's bar, from its end an arrow for each part, a line where the teacher's would end, and the
// numbers. `draw` takes the student's p, the teacher's, the pulls and what the longest arrow stands for.
function pullRow(name) {
  const bar = make("span", { className: "bar" }), aim = make("span", { className: "aim" }), tip = {}, shaft = {}, texts = {};
  for (const part of PARTS) {
    shaft[part] = make("span", { className: `shaft ${part}` });
    tip[part] = make("span", { className: `tip ${part}` });
    texts[part] = document.createTextNode("");
  }
  const arrows = make("span", { className: "arrows" }, shaft.hard, tip.hard, shaft.soft, tip.soft);
  const row = make("tr", {}, make("th", { scope: "row", textContent: name }),
    make("td", { className: "chart", ariaHidden: "true" },
      make("span", { className: "room" }, make("span", { className: "scale" }, bar, aim, arrows))),
    make("td", { className: "number" }, texts.hard), make("td", { className: "number" }, texts.soft));
  function draw(p, teachers, pull, largest) {
    bar.style.transform = `scaleX(${p})`;
    aim.style.transform = `translateX(${teachers * 100}cqw)`;
    arrows.style.transform = `translateX(${p * 100}cqw)`; // each begins where its bar ends
    for (const part of PARTS) {
      const length = Math.max(-1, Math.min(1, pull[part] / largest));
      shaft[part].style.transform = `scaleX(${length})`;
      tip[part].style.transform = `translateX(${length * 100}%)`;
      tip[part].classList.toggle("left", length < 0);
      tip[part].classList.toggle("none", Math.abs(length) < 0.004);
      texts[part].data = signed(pull[part]);
    }
  }
  return { row, draw };
}

// The label of the hard part: an example has one, a photo's is the visitor's to say. `changed` is called when it is said.
function labelOf(stage, changed) {
  const select = stage.$("#label"), chosen = new Map(); // a photo's file -> the class that the visitor chose
  select.replaceChildren(...stage.classes.map((name) => make("option", { textContent: name })));
  function tell({ example, file }) {
    stage.$("#label-source").textContent = example ? "This is the data set's label."
      : chosen.has(file) ? "This is the label that you chose."
      : "Your photo has no label: the teacher's answer stands in until you choose one.";
  }
  select.addEventListener("change", () => {
    chosen.set(stage.value?.file, select.value);
    if (stage.value?.models) tell(stage.value);
    changed();
  });
  return {
    get position() { return select.selectedIndex; }, // of its class
    show(value) {
      select.value = value.example ?? chosen.get(value.file) ?? value.models.teacher.label;
      select.disabled = value.example !== null;
      tell(value);
    },
  };
}

function buildPulls(stage) {
  const { $, logP } = stage, section = $("#pulls"), table = $("#pulls-table");
  const label = labelOf(stage, draw), studentSelect = $("#pulled"), plainSwitch = $("#without-square");
  const measures = Object.fromEntries(["hard", "soft", "loss"].map((part) => [part, $(`[data-measure=${part}]`).appendChild(document.createTextNode(""))]));
  const longest = $("#longest-pull").appendChild(document.createTextNode(""));
  let logits = null; // the student's, moved by the steps taken
  let inSight = false;

  section.hidden = stage.props.loss !== "kd"; // of another loss these would not be the gradients
  const rows = stage.classes.map(pullRow);
  table.tBodies[0].replaceChildren(...rows.map(({ row }) => row));
  if (rows.length > SHOWN) table.createCaption().textContent = `Of ${rows.length} classes the teacher's first ${SHOWN} and the label's are shown.`;

  const pulls = (z, withSquare) => pullsOf(z, logP.teacher, label.position, stage.T, withSquare);

  // The picture's largest pull, before any step and with T squared: the longest arrow stands for it.
  function largestPull() {
    const { logits: before } = stage.value.models[studentSelect.value];
    return Math.max(LEAST_SCALE, ...pulls(before, true).flatMap(({ hard, soft }) => [Math.abs(hard), Math.abs(soft)]));
  }

  function draw() {
    if (!inSight || !stage.value?.models) return;
    const largest = largestPull(), withSquare = !plainSwitch.checked;
    longest.data = largest.toFixed(2);
    const logStudent = logSoftmax(logits, stage.T, []);
    pulls(logits, withSquare).forEach((pull, k) => {
      rows[k].row.hidden = !stage.places.includes(k) && k !== label.position;
      rows[k].row.classList.toggle("first", k === label.position);
      if (!rows[k].row.hidden) rows[k].draw(Math.exp(logStudent[k]), Math.exp(logP.teacher[k]), pull, largest);
    });
    const { hard, soft } = lossOf(logits, logP.teacher, label.position, stage.T, withSquare, stage.value.soft_weight);
    measures.hard.data = hard.toFixed(3);
    measures.soft.data = soft.toFixed(3);
    measures.loss.data = (hard + soft).toFixed(3);
  }

  // In the order of the chart above.
  function arrange() {
    table.tBodies[0].append(...new Set([...stage.places, ...rows.keys()].map((k) => rows[k].row)));
  }

  function startAgain() {
    logits = [...stage.value.models[studentSelect.value].logits];
    section.dataset.student = studentSelect.value;
    draw();
  }

  $("#take-step").addEventListener("click", () => {
    if (!stage.value?.models) return;
    const a = stage.value.soft_weight, size = Math.min(MAX_STEP_SIZE, 1 / largestPull());
    pulls(logits, !plainSwitch.checked).forEach(({ hard, soft }, k) => { logits[k] += size * ((1 - a) * hard + a * soft); });
    draw();
  });
  $("#start-again").addEventListener("click", () => stage.value?.models && startAgain());
  studentSelect.addEventListener("change", () => stage.value?.models && startAgain());
  plainSwitch.addEventListener("change", draw);
  new IntersectionObserver((entries) => { inSight = entries.at(-1).isIntersecting; draw(); }).observe(section);

  stage.views.push({
    draw,
    arrange,
    show(value) {
      if (!value?.models) return;
      label.show(value);
      const weights = { hard: 1 - value.soft_weight, soft: value.soft_weight };
      for (const part of PARTS) $(`.weight[data-part=${part}]`).textContent = Number(weights[part].toFixed(4));
      $("#soft-weight").textContent = value.soft_weight;
      arrange();
      startAgain();
    },
  });
}
