// ---- the replay of the training: both students' predictions for an example, from moment to moment ---------

const MOMENT_SECONDS = 0.5, REDUCED_SECONDS = 1.2; // of play; where motion is to be reduced, bars do not glide
const CURVE = { width: 420, height: 180, left: 42, right: 10, top: 8, bottom: 20 };

function buildReplay(stage, { epochs, students }) {
  const { $, classes, source, names } = stage, K = classes.length, last = epochs.length - 1;
  const slider = $("#replay-slider"), play = $("#replay-play"), table = $("#replay-table"), view = $("#replay");
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
  const stored = Object.fromEntries(STUDENTS.map((role) => [role, signedBytes(students[role].logits)]));
  const examples = source.examples;
  let moment = last, example = Math.max(0, examples.findIndex((value) => value.example === stage.value?.example));

  const logitsOf = (role, of) => Array.from(stored[role].subarray((moment * K + of) * K, (moment * K + of + 1) * K), (z) => z * students[role].scales[moment]);
  const predictedOf = (logits) => logits.indexOf(Math.max(...logits));
  // Of all validation images where it was measured on them, after an epoch; of the recorded ones within.
  const accuracyAt = (role, m) => students[role].accuracy[m] ?? students[role].of_recorded[m];
  const momentText = (epoch) => {
    if (epoch === 0) return "Before the first step";
    return Number.isInteger(epoch) ? `After epoch ${epoch} of ${epochs[last]}` : `After ${percent(epoch)} of the first epoch`;
  };

  // Ten examples, each with the marks of the students who predict it rightly at this moment.
  const buttons = examples.map((value, k) => {
    const marks = Object.fromEntries(STUDENTS.map((role) => [role, make("span", { className: `mark ${role}` })]));
    const button = make("button", { type: "button", title: value.example },
      make("img", { src: value.picture, alt: value.example, width: 44, height: 44 }),
      make("span", { className: "marks", ariaHidden: "true" }, marks.student, marks.distilled));
    button.addEventListener("click", () => choose(k));
    return { button, marks };
  });
  $("#replay-examples").replaceChildren(...buttons.map(({ button }) => button));

  const rows = classes.map((name) => {
    const bars = {}, cells = {};
    for (const role of ROLES) {
      bars[role] = make("span", { className: `bar ${role}` });
      cells[role] = make("td", { className: `number ${role}` });
      cells[role].dataset.model = role;
    }
    const room = make("td", { className: "chart", ariaHidden: "true" }, make("span", { className: "room" }, bars.teacher, bars.student, bars.distilled));
    const row = make("tr", {}, make("th", { scope: "row", textContent: name }), room, ...Object.values(cells));
    row.dataset.class = name;
    return { row, bars, cells };
  });
  table.tBodies[0].replaceChildren(...rows.map(({ row }) => row));

  // The accuracy of both, as far as the replay has come.
  const curve = $("#replay-curve"), { width, height, left, right, top, bottom } = CURVE;
  const across = (m) => left + ((width - left - right) * m) / last, up = (share) => height - bottom - (height - top - bottom) * share;
  curve.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const ways = {}, ends = {};
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    curve.append(svgNode("line", { class: "grid", x1: left, x2: width - right, y1: up(share), y2: up(share) }),
      svgNode("text", { x: left - 5, y: up(share) + 4, "text-anchor": "end" }, share === 1 ? "100%" : String(share * 100)));
  }
  const firstEpoch = epochs.indexOf(1);
  for (const m of new Set([0, ...(firstEpoch > 0 && firstEpoch < last ? [firstEpoch] : []), last])) {
    const text = m === 0 ? "start" : m === last ? `epoch ${epochs[last]}` : "epoch 1";
    curve.append(svgNode("text", { x: across(m), y: height - 5, "text-anchor": m === 0 ? "start" : m === last ? "end" : "middle" }, text));
  }
  for (const role of STUDENTS) {
    curve.append(svgNode("polyline", { class: `to-come ${role}`, points: epochs.map((_, m) => `${across(m)},${up(accuracyAt(role, m))}`).join(" ") }));
    ways[role] = curve.appendChild(svgNode("polyline", { class: `way-so-far ${role}` }));
    ends[role] = curve.appendChild(svgNode("circle", { class: `end ${role}`, r: 5 }));
  }

  const sentence = $("#replay-sentence").appendChild(document.createTextNode("")), label = $("#replay-moment").appendChild(document.createTextNode(""));
  const draw = drawnInSight($("#replay .panel"), () => {
    const logP = {}, right = { student: 0, distilled: 0 };
    logP.teacher = logSoftmax(examples[example].models.teacher.logits, stage.T, []);
    for (const role of STUDENTS) logP[role] = logSoftmax(logitsOf(role, example), stage.T, []);
    rows.forEach(({ bars, cells }, k) => {
      for (const role of ROLES) {
        const p = Math.exp(logP[role][k]);
        bars[role].style.width = `${p * 100}%`;
        cells[role].textContent = percent(p);
        cells[role].dataset.value = p;
      }
    });
    buttons.forEach(({ button, marks }, k) => {
      const said = STUDENTS.map((role) => {
        const isRight = predictedOf(logitsOf(role, k)) === k;
        right[role] += isRight;
        marks[role].classList.toggle("wrong", !isRight);
        return `${names[role].toLowerCase()} ${isRight ? "right" : "wrong"}`;
      });
      button.setAttribute("aria-label", `${classes[k]}: ${said.join(", ")}`);
    });
    for (const role of STUDENTS) {
      const share = accuracyAt(role, moment);
      ways[role].setAttribute("points", epochs.slice(0, moment + 1).map((_, m) => `${across(m)},${up(accuracyAt(role, m))}`).join(" "));
      ends[role].setAttribute("cx", across(moment));
      ends[role].setAttribute("cy", up(share));
      $(`#replay figcaption .${role}`).textContent = `${names[role]} ${percent(share)}`;
    }
    table.dataset.moment = moment;
    table.dataset.temperature = stage.T;
    label.data = momentText(epochs[moment]);
    slider.setAttribute("aria-valuetext", label.data);
    const [alone, distilled] = STUDENTS.map((role) => totalVariation(logP.teacher, logP[role]));
    sentence.data = `${label.data}, at T = ${stage.T.toFixed(2)}, ${classes[example]} gets ${percent(Math.exp(logP.student[example]))} from the student alone and ${percent(Math.exp(logP.distilled[example]))} from the distilled student; the teacher gives it ${percent(Math.exp(logP.teacher[example]))}. ${nearness(alone / distilled)} Of the ${inWords(classes.length)} examples the one is right on ${right.student}, the other on ${right.distilled}.`;
  });

  function choose(k) {
    example = k;
    buttons.forEach(({ button }, position) => button.setAttribute("aria-pressed", String(position === k)));
    rows.forEach(({ row }, position) => row.classList.toggle("first", position === k));
    draw();
  }

  function go(to) {
    moment = to;
    slider.value = to;
    draw();
  }

  let playing = null; // the timer
  function pause() {
    clearTimeout(playing);
    playing = null;
    play.textContent = "Play";
    view.classList.remove("gliding");
  }
  function step() {
    if (moment === last || !view.open) { pause(); return; }
    go(moment + 1);
    playing = setTimeout(step, (reducedMotion.matches ? REDUCED_SECONDS : MOMENT_SECONDS) * 1000);
  }
  play.addEventListener("click", () => {
    if (playing) { pause(); return; }
    play.textContent = "Pause";
    view.classList.toggle("gliding", !reducedMotion.matches);
    if (moment === last) go(0);
    playing = setTimeout(step, MOMENT_SECONDS * 1000);
  });
  slider.addEventListener("input", () => { pause(); go(slider.valueAsNumber); });
  document.addEventListener("keydown", (event) => event.key === "Escape" && playing && pause());

  slider.max = last;
  $("#replay-note").textContent = `Upper bar: the student alone; lower bar: the distilled student; outline: the teacher as it is, who does not learn any more. Below each example stand the marks of the students who answer it rightly. Accuracy is that on the validation images after each epoch; within the first it is that on the recorded ones of them.`;
  choose(example);
  go(last);
  stage.views.push({
    draw,
    show(value) {
      const shown = examples.findIndex((each) => each.example === value?.example);
      if (shown >= 0) choose(shown);
    },
  });
}
