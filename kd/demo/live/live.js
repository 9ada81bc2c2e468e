// ---- drawing -------------------------------------------------------------------------------------------

const temperatureText = $(".temperature-text");

function draw() {
  temperatureText.textContent = T.toFixed(2);
  slider.setAttribute("aria-valuetext", T.toFixed(2));
  markCurves();
  if (!answers) return;
  drawChart();
  drawMeasures();
  drawLoss();
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

// ---- after the hand: what would be too much while it moves ----------------------------------------------

const SETTLE_MILLISECONDS = 500;
let settling = null;

function settleLater() {
  clearTimeout(settling);
  settling = setTimeout(settle, SETTLE_MILLISECONDS);
}

function settle() {
  if (playing) return;
  if (slider.matches(":active")) { settleLater(); return; }
  writeAddress();
  $("#spoken").textContent = answers ? spokenSummary() : "";
}

// One sentence for screen readers.
function spokenSummary() {
  const k = order[0];
  const shares = ROLES.map((role) => `${answers[role].name} ${percent(Math.exp(logP[role][k]))}`);
  return `At temperature ${T.toFixed(2)}, ${props.value.classes[k]}: ${shares.join(", ")}.`;
}

// ---- the figure of curves below, which is asked for when somebody comes to see it -----------------------

let curves = null, curvesInSight = false, curvesAreOld = true;

// The line that marks T in it is drawn by the style sheet from these properties.
function markCurves() {
  // Set on the figure itself: on the whole document, every move would restyle the whole page.
  curves?.style.setProperty("--place", placeOf(T));
  curves?.style.setProperty("--temperature", `"T = ${T.toFixed(2)}"`);
}

function askForCurves() {
  if (!curvesInSight || !curvesAreOld || !answers) return;
  curvesAreOld = false;
  trigger("curves");
}

function findCurves() {
  curves = document.getElementById("curves");
  if (!curves) { setTimeout(findCurves, 100); return; } // it is mounted after the live view
  markCurves();
  new IntersectionObserver(([{ isIntersecting }]) => {
    curvesInSight = isIntersecting;
    askForCurves();
  }).observe(curves);
}

// ---- the three cards -----------------------------------------------------------------------------

function buildCard(role, { name, architecture, parameters, size, label, confidence, milliseconds, probabilities }, classes) {
  const rows = classes.map((text, k) => {
    const bar = make("span", { className: "bar" });
    bar.style.transform = `translateX(${(probabilities[k] - 1) * 100}%)`;
    return make("li", {}, make("span", { textContent: text }), make("span", { className: "room" }, bar),
      make("span", { className: "number", textContent: percent(probabilities[k]) }));
  });
  const card = make("article", { className: `card ${role}` },
    make("h2", { textContent: name }, make("small", { textContent: architecture })),
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
  if (answers) previous = answers;
  answers = value ? value.models : null;
  if (value) {
    buildTable(value.classes);
    showLabel(value);
    $("#answers").replaceChildren(...ROLES.map((role) => buildCard(role, answers[role], value.classes)));
    $("#soft-weight").textContent = value.soft_weight;
  }
  showOptions();
  curvesAreOld = true;
  askForCurves();
}

buildSlider();
show();
findCurves();
followAddress();
askLater();
watch("value", () => {
  awaited = null;
  show();
  settleLater();
});
