// ---- what the numbers mean: entropy, divergences, and the loss that this image would give ------------

const measures = {}; // data-measure -> its text
for (const node of element.querySelectorAll("[data-measure]")) {
  measures[node.dataset.measure] = node.appendChild(document.createTextNode(""));
}
const lossBars = Object.fromEntries(STUDENTS.map((role) => [role, {
  hard: $(`#loss [data-student=${role}] .hard.bar`), soft: $(`#loss [data-student=${role}] .soft.bar`),
}]));
const labelSelect = $("#label");

// The hard part needs a label: an example has one, a photo's is the visitor's to say.
function showLabel({ classes, example, models }) {
  labelSelect.replaceChildren(...classes.map((name) => make("option", { textContent: name })));
  labelSelect.value = example ?? models.teacher.label;
  labelSelect.disabled = example !== null;
  $("#label-source").textContent = example
    ? "This is CIFAR-10's label."
    : "Your photo has no label: the teacher's answer stands in until you choose one.";
}

function drawMeasures() {
  measures.entropy.data = nats(entropy(logP.teacher));
  for (const role of STUDENTS) measures[`kl-${role}`].data = nats(divergence(logP.teacher, logP[role]));
}

// (1 - a) CE + a T^2 KL, as in kd/losses.py; a is the soft weight of the distilled student's recipe
function drawLoss() {
  const a = props.value.soft_weight, label = labelSelect.selectedIndex, parts = {};
  for (const role of STUDENTS) {
    parts[role] = {
      hard: -(1 - a) * logSoftmax(answers[role].logits, 1, logP.plain)[label],
      soft: a * T ** 2 * divergence(logP.teacher, logP[role]),
    };
    parts[role].loss = parts[role].hard + parts[role].soft;
  }
  const largest = Math.max(parts.student.loss, parts.distilled.loss);
  for (const role of STUDENTS) {
    for (const [part, value] of Object.entries(parts[role])) measures[`${part}-${role}`].data = value.toFixed(3);
    for (const part of ["hard", "soft"]) lossBars[role][part].style.width = `${(parts[role][part] / largest) * 100}%`;
  }
}

labelSelect.addEventListener("change", requestDraw);
