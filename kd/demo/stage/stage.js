// The stage. Gradio calls the joined files once, as one function, with `element` (the component's root), `props`,
// `trigger` and `watch`. Each file declares functions; what they share is the one object below. From here on
// everything happens in the browser: dragging the temperature sends nothing to the server.

const ROLES = ["teacher", "student", "distilled"];
const STUDENTS = ["student", "distilled"];
const SETTLE_MILLISECONDS = 500;

const stage = {
  element, props,
  source: sourceOf(props, trigger, watch),
  classes: props.classes,
  names: Object.fromEntries(ROLES.map((role) => [role, props.examples[0].models[role].name])), // of the networks
  T: props.start_temperature,
  value: null, // what is shown of the present image, {problem}, or null
  previous: null, // that of the image before
  order: [], // the teacher's: class positions, the likeliest first
  logP: Object.fromEntries(ROLES.map((role) => [role, new Float64Array(props.classes.length)])), // at the present T
  options: { order: "teacher", log: false, ghost: false, large: false },
  views: [], // of each what it has: show(value) at a new image, arrange() at new options, draw() at a new T, settle() after the hand

  // What one file gives and others call; set when that file is built.
  places: [], // chart.js: class positions in the order of the rows on the screen
  rowsShown: null, // chart.js: those rows, for the saved picture
  setTemperature: null, pause: null, moving: null, // temperature.js
  explain: null, // words.js: lets a button open a word of explanation
  writeAddress: null, // address.js
  tour: null, // tour.js: {step, has(n), go(n)}

  $: (selector) => element.querySelector(selector),

  show(value) {
    const same = value?.file === stage.value?.file && value?.example === stage.value?.example;
    if (stage.value?.models && !same) stage.previous = stage.value;
    stage.value = value;
    element.classList.toggle("empty", !value?.models);
    stage.$("#problem").textContent = value?.problem ?? "";
    if (value?.models) stage.order = descending(value.models.teacher.logits);
    for (const view of stage.views) view.show?.(value);
    stage.draw();
  },

  setOptions(options) {
    Object.assign(stage.options, options);
    for (const view of stage.views) view.arrange?.();
    stage.draw();
    stage.settleLater();
  },

  draw() {
    if (stage.value?.models) {
      for (const role of ROLES) logSoftmax(stage.value.models[role].logits, stage.T, stage.logP[role]);
    }
    for (const view of stage.views) view.draw?.();
  },

  // Draw at once, then at most once a frame, and always end at the last value.
  requestDraw() {
    if (drawnThisFrame) { drawAgain = true; return; }
    stage.draw();
    drawnThisFrame = true;
    requestAnimationFrame(() => {
      drawnThisFrame = false;
      if (drawAgain) { drawAgain = false; stage.requestDraw(); }
    });
  },

  // After the hand comes what would be too much while it moves.
  settleLater() {
    clearTimeout(settling);
    settling = setTimeout(() => {
      if (stage.moving()) stage.settleLater();
      else for (const view of stage.views) view.settle?.();
    }, SETTLE_MILLISECONDS);
  },
};
let drawnThisFrame = false, drawAgain = false, settling = null;

// One sentence for screen readers, after the hand.
function spokenSummary({ T, value, order, logP }) {
  const shares = ROLES.map((role) => `${stage.names[role]} ${percent(Math.exp(logP[role][order[0]]))}`);
  return `At temperature ${T.toFixed(2)}, ${value.classes[order[0]]}: ${shares.join(", ")}. ${sentenceOf(stage).slice(0, 3).join("")}`;
}
stage.views.push({
  settle() { stage.$("#spoken").textContent = stage.value?.models ? spokenSummary(stage) : ""; },
});

const counts = { classes: inWords(stage.classes.length), others: inWords(stage.classes.length - 1), nats: Math.log(stage.classes.length).toFixed(3) };
for (const node of element.querySelectorAll("[data-count]")) node.textContent = counts[node.dataset.count];
for (const role of ROLES) for (const heading of element.querySelectorAll(`th.${role}`)) heading.textContent = stage.names[role];

for (const build of [buildTemperature, buildChart, buildPredictions, buildMeasures, buildSentence, buildWords, buildPhoto, buildExamples, buildPulls, buildSaving, buildRecordings, buildTour]) {
  build(stage);
}
buildAddress(stage); // it shows the first image
buildConnection(stage);
// Whether a photo's value comes when that is not wanted any more: it was removed, or something else is shown.
function comesTooLate(value) {
  const { wanted } = stage.source;
  if (wanted === undefined) return false;
  if (value?.file) return value.file !== wanted;
  return !wanted && !stage.value?.file; // that there is none, or that no answer came
}

stage.source.receive((value) => {
  // That of another part of a photo comes without the photo; too late, it is none of the present image. Where there is
  // none, the photo stays, and its square goes back to where it was answered.
  if (value?.keeps && stage.value?.models) value = { ...stage.value, problem: value.problem };
  else if (value?.models && !value.photo) {
    if (value.file !== stage.value?.file) return;
    value = { ...value, photo: stage.value.photo };
  } else if (comesTooLate(value)) return;
  stage.show(value);
  stage.settleLater();
});
