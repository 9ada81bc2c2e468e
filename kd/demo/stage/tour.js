// ---- the tour: steps over the same stage, each with an address of its own (address.js) ------------------

const GLIDE_SECONDS = 1.4; // from the temperature shown to that of a step
const SWIPE_PIXELS = 48; // that a finger has to go sideways

// The steps: at which T, whether the students are to be seen, and what the caption says of the image shown, from
// its numbers at that T.
function tourSteps({ props, classes, source }) {
  const HOT = props.max_temperature, TAUGHT_AT = props.taught_at, omitted = classes.indexOf(props.omitted_class);
  const steps = [
    { T: 1, title: "One answer", caption: ({ p, order: [first] }) => {
      const rest = doubtsAloud(p[first]) ? "here it doubts aloud." : "what it thinks of each is squeezed in there.";
      return `At T = 1 the teacher gives ${classes[first]} ${percent(p[first])}. ${othersShare(classes.length - 1)} ${percent(1 - p[first])}: ${rest}`;
    } },
    TAUGHT_AT > 1 && { T: TAUGHT_AT, title: "The ranking", caption: ({ p, order }) => {
      const [first, second, third] = order, last = order.at(-1);
      if (order.length < 4) return `T = ${TAUGHT_AT} evens all out but keeps their order: ${order.map((k) => `${classes[k]} (${percent(p[k])})`).join(", ")}.`;
      return `T = ${TAUGHT_AT} evens all out but keeps their order: after ${classes[first]} come ${classes[second]} (${percent(p[second])}) and ${classes[third]} (${percent(p[third])}), last ${classes[last]} (${percent(p[last])}).`;
    } },
    HOT > TAUGHT_AT && { T: HOT, title: "Hotter still", caption: ({ p, order }) => {
      const lost = isTooHot(HOT, TAUGHT_AT, p[order[0]], p[order.at(-1)]);
      return `At T = ${HOT} all ${inWords(classes.length)} lie between ${percent(p[order.at(-1)])} and ${percent(p[order[0]])}: ${lost ? "too hot, the order is lost to the eye" : "even here the order can be seen"}.`;
    } },
    { T: TAUGHT_AT, title: "The students", students: true, caption: ({ models }) => {
      const shared = (role) => orderShared(models, role).toFixed(2), examples = source.examples.map((each) => each.models);
      const mean = (role) => (examples.reduce((sum, each) => sum + orderShared(each, role), 0) / examples.length).toFixed(2);
      return `The student alone (ring) learnt from labels, the distilled student (disc) also from the teacher. They follow its order of the other ${inWords(classes.length - 1)} by ${shared("student")} and ${shared("distilled")}; over all examples by ${mean("student")} and ${mean("distilled")}.`;
    } },
  ].filter(Boolean); // where it taught at 1 or at the hottest, two steps would show the same
  if (omitted >= 0) {
    const whose = props.another_teacher ? "another teacher's" : "the teacher's";
    steps.push({ T: TAUGHT_AT, title: "The class it never saw", students: true, leadsOn: true, caption: ({ p, order: [first] }) => (
      first === omitted
        ? `One student was never shown ${article(classes[omitted])}: it knows one only from ${whose} shares for other pictures.`
        : `For this picture the teacher gives ${classes[omitted]} ${percent(p[omitted])}. From ${whose} shares alone, one student learnt what it knows of ${article(classes[omitted])}: it was never shown one.`
    ) });
  }
  return steps;
}

// Show the tab of the omitted class, and its first control as soon as it is there.
function openGame(tab) {
  openTab(tab);
  const look = (frames) => {
    const first = document.querySelector("#bet input");
    if (first) first.focus();
    else if (frames) requestAnimationFrame(() => look(frames - 1));
  };
  look(600);
}

// The temperature glides to that of a step, as far as motion is wanted: {to(t), stop(), goal: where to, or null}.
function buildGlide(stage) {
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
  let frame = null, goal = null;

  function stop() {
    cancelAnimationFrame(frame);
    goal = null;
  }

  function to(t) {
    stop();
    stage.pause();
    if (reducedMotion.matches) { stage.setTemperature(t); return; }
    goal = t;
    const from = stage.T, began = performance.now();
    const goOn = (now) => {
      const share = Math.min(1, Math.max(0, now - began) / (GLIDE_SECONDS * 1000)), eased = share * share * (3 - 2 * share);
      stage.setTemperature(share < 1 ? from * (t / from) ** eased : t);
      if (share < 1) frame = requestAnimationFrame(goOn); else goal = null;
    };
    frame = requestAnimationFrame(goOn);
  }

  // The hand goes first: it ends a glide, and the tour waits where it is.
  for (const sign of ["pointerdown", "keydown", "input"]) {
    stage.element.addEventListener(sign, ({ target }) => { if (target.closest("#temperature, #lower-slider, .temperature")) stop(); });
  }
  return { to, stop, get goal() { return goal; } };
}

// Calls `turn` with 1 or -1 when a finger goes sideways over what is on the tour.
function onSwipe(element, turn) {
  let touch = null;
  element.addEventListener("pointerdown", (event) => {
    touch = event.pointerType === "touch" && event.target.closest("#tour, #soft-targets") ? event : null;
  });
  element.addEventListener("pointerup", (event) => {
    if (event.pointerId !== touch?.pointerId) return;
    const across = event.clientX - touch.clientX, down = event.clientY - touch.clientY;
    touch = null;
    if (Math.abs(across) >= SWIPE_PIXELS && Math.abs(across) >= 2 * Math.abs(down)) turn(across < 0 ? 1 : -1);
  });
}

function buildTour(stage) {
  const { $, element } = stage, card = $("#tour"), begin = $("#begin-tour"), text = $("#tour-text"), steps = tourSteps(stage);
  const glide = buildGlide(stage), logP = new Float64Array(stage.classes.length);
  let step = 0; // from 1; 0 while there is no tour

  // The caption is of the step's own T, wherever the hand has taken the slider.
  function tell() {
    const { T, title, caption, leadsOn } = steps[step - 1], { models } = stage.value;
    const p = Array.from(logSoftmax(models.teacher.logits, T, logP), Math.exp);
    text.replaceChildren(make("b", { textContent: `${step} of ${steps.length}: ${title}. ` }), caption({ p, order: stage.order, models }));
    if (step === 1 && document.activeElement === $("#tour-back")) $("#tour-next").focus();
    $("#tour-back").disabled = step === 1;
    $("#tour-next").textContent = step < steps.length ? "Next" : leadsOn ? "Bet on it" : "End";
  }

  // As an address asks for it: step 0 ends the tour.
  function go(to) {
    if (!to && card.contains(document.activeElement)) { begin.focus(); }
    const { goal } = glide;
    glide.stop();
    if (goal !== null) stage.setTemperature(goal);
    step = stage.value?.models ? to : 0;
    element.classList.toggle("touring", step > 0);
    element.classList.toggle("teacher-alone", step > 0 && !steps[step - 1].students);
    card.hidden = !step;
    if (!step) return;
    tell();
    glide.to(steps[step - 1].T);
  }

  // As the visitor asks for it: a new entry in the browser's history.
  function visit(to) {
    go(to);
    stage.writeAddress();
  }

  // To the step after or before, if there is a tour with such a step.
  function turn(by) {
    if (step && step - 1 + by in steps) visit(step + by);
  }

  function end() {
    visit(0);
    begin.focus();
  }

  function goOn() {
    if (step < steps.length) { visit(step + 1); return; }
    const { leadsOn } = steps[step - 1];
    end();
    if (leadsOn) openGame(stage.props.game_tab);
  }

  begin.addEventListener("click", () => { visit(1); card.focus(); });
  $("#tour-back").addEventListener("click", () => visit(step - 1));
  $("#tour-next").addEventListener("click", goOn);
  $("#tour-end").addEventListener("click", end);
  onSwipe(element, turn);
  document.addEventListener("keydown", (event) => {
    const key = plainKey(event), { target } = event;
    if (!step || event.defaultPrevented || !card.checkVisibility()) return;
    if (key === "Escape") { if (!$("#word").matches(":popover-open")) end(); return; }
    if (target.closest?.("input, select, textarea, [role=tab], #crop, .scroll")) return; // which have another use for arrows
    if (key === "ArrowRight") turn(1);
    else if (key === "ArrowLeft") turn(-1);
  });

  stage.tour = { get step() { return step; }, has: (n) => n - 1 in steps, go };
  stage.views.push({
    show() {
      if (!step) return;
      if (!stage.value?.models) go(0);
      else if (!stage.source.waiting) tell(); // else a screen reader would say it at each answer to a moving square
    },
  });
}
