// ---- the replay of the training: both students' predictions for an example, from moment to moment ---------

const MOMENT_SECONDS = 0.5, REDUCED_SECONDS = 1.2; // of play; where motion is to be reduced, bars do not glide
const CURVE = { width: 420, height: 180, left: 42, right: 10, top: 8, bottom: 20 };

function momentText(epoch, lastEpoch) {
  if (epoch === 0) return "Before the first step";
  return Number.isInteger(epoch) ? `After epoch ${epoch} of ${lastEpoch}` : `After ${percent(epoch)} of the first epoch`;
}

// Ten examples, each with the marks of the students who predict it rightly; of the one chosen a row a class, with a bar
// and a number of each network.
function buildReplayAnswers({ $, classes, names, source }, choose) {
  const buttons = source.examples.map((value, k) => {
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
  $("#replay-table").tBodies[0].replaceChildren(...rows.map(({ row }) => row));

  return {
    mark(example) {
      buttons.forEach(({ button }, k) => button.setAttribute("aria-pressed", String(k === example)));
      rows.forEach(({ row }, k) => row.classList.toggle("first", k === example));
    },
    draw(logP, isRight) {
      rows.forEach(({ bars, cells }, k) => {
        for (const role of ROLES) {
          const p = Math.exp(logP[role][k]);
          bars[role].style.width = `${p * 100}%`;
          cells[role].textContent = percent(p);
          cells[role].dataset.value = p;
        }
      });
      buttons.forEach(({ button, marks }, k) => {
        for (const role of STUDENTS) marks[role].classList.toggle("wrong", !isRight[role][k]);
        const said = STUDENTS.map((role) => `${names[role].toLowerCase()} ${isRight[role][k] ? "right" : "wrong"}`);
        button.setAttribute("aria-label", `${classes[k]}: ${said.join(", ")}`);
      });
    },
  };
}

// The accuracy of both students: returns what draws it as far as the replay has come.
function buildReplayCurve({ $, names }, epochs, accuracyAt) {
  const curve = $("#replay-curve"), { width, height, left, right, top, bottom } = CURVE, last = epochs.length - 1;
  const across = (m) => left + ((width - left - right) * m) / last, up = (share) => height - bottom - (height - top - bottom) * share;
  curve.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    curve.append(svgNode("line", { class: "grid", x1: left, x2: width - right, y1: up(share), y2: up(share) }),
      svgNode("text", { x: left - 5, y: up(share) + 4, "text-anchor": "end" }, share === 1 ? "100%" : String(share * 100)));
  }
  const write = (m, anchor, text) => curve.append(svgNode("text", { x: across(m), y: height - 5, "text-anchor": anchor }, text));
  const firstEpoch = epochs.indexOf(1);
  write(0, "start", "start");
  const isNamed = firstEpoch > 0 && firstEpoch < last, begin = isNamed ? firstEpoch : 0, step = Math.ceil(epochs[last] / 12);
  if (isNamed) write(firstEpoch, "middle", "epoch 1");
  write(last, "end", isNamed ? epochs[last] : `epoch ${epochs[last]}`);
  const isFree = (m) => across(m) - across(begin) > (isNamed ? 28 : 45) && across(last) - across(m) > (isNamed ? 18 : 60);
  epochs.forEach((epoch, m) => { if (m > begin && epoch % step === 0 && isFree(m)) write(m, "middle", epoch); });

  const points = {}, ways = {}, ends = {};
  for (const role of STUDENTS) {
    points[role] = epochs.map((_, m) => `${across(m)},${up(accuracyAt(role, m))}`);
    curve.append(svgNode("polyline", { class: `to-come ${role}`, points: points[role].join(" ") }));
    ways[role] = curve.appendChild(svgNode("polyline", { class: role }));
    ends[role] = curve.appendChild(svgNode("circle", { class: role, r: 5 }));
  }
  return (moment) => {
    for (const role of STUDENTS) {
      const share = accuracyAt(role, moment);
      ways[role].setAttribute("points", points[role].slice(0, moment + 1).join(" "));
      ends[role].setAttribute("cx", across(moment));
      ends[role].setAttribute("cy", up(share));
      $(`#replay figcaption .${role}`).textContent = `${names[role]} ${rate(share)}`;
    }
  };
}

// The slider of moments, and what plays them to the last one; `show` draws one. Returns what goes to a moment.
function buildReplayPlay({ $ }, last, show) {
  const slider = $("#replay-slider"), play = $("#replay-play"), view = $("#replay");
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
  let playing = null; // the timer
  const go = (to) => { slider.value = to; show(to); };
  function pause() {
    clearTimeout(playing);
    playing = null;
    play.textContent = "Play";
    view.classList.remove("gliding");
  }
  function step() {
    if (slider.valueAsNumber === last || !view.open) { pause(); return; }
    go(slider.valueAsNumber + 1);
    playing = setTimeout(step, (reducedMotion.matches ? REDUCED_SECONDS : MOMENT_SECONDS) * 1000);
  }
  play.addEventListener("click", () => {
    if (playing) { pause(); return; }
    play.textContent = "Pause";
    view.classList.toggle("gliding", !reducedMotion.matches);
    if (slider.valueAsNumber === last) go(0);
    playing = setTimeout(step, MOMENT_SECONDS * 1000);
  });
  slider.addEventListener("input", () => { pause(); go(slider.valueAsNumber); });
  document.addEventListener("keydown", (event) => event.key === "Escape" && playing && pause());
  slider.max = last;
  return go;
}

function buildReplay(stage, { epochs, students }) {
  const { $, classes, source: { examples } } = stage, K = classes.length, last = epochs.length - 1;
  const stored = Object.fromEntries(STUDENTS.map((role) => [role, signedBytes(students[role].logits)]));
  const storedOf = (role, k) => stored[role].subarray((moment * K + k) * K, (moment * K + k + 1) * K); // small integers
  // At the last moment those of the chart, of which the recording is a rounded copy.
  const logitsOf = (role, k) => (moment === last ? examples[k].models[role].logits : storedOf(role, k));
  const predicted = (role, k) => logitsOf(role, k).indexOf(Math.max(...logitsOf(role, k)));
  const logP = Object.fromEntries(ROLES.map((role) => [role, new Float64Array(K)]));
  // Of all validation images where it was measured on them, after an epoch; of the recorded ones within.
  const accuracyAt = (role, m) => students[role].accuracy[m] ?? students[role].of_recorded[m];
  let moment = last, example = Math.max(0, examples.findIndex((value) => value.example === stage.value?.example));

  const answers = buildReplayAnswers(stage, choose), drawCurve = buildReplayCurve(stage, epochs, accuracyAt);
  const go = buildReplayPlay(stage, last, (to) => { moment = to; draw(); });
  const table = $("#replay-table"), slider = $("#replay-slider");
  const sentence = $("#replay-sentence").appendChild(document.createTextNode("")), label = $("#replay-moment").appendChild(document.createTextNode(""));
  const draw = drawnInSight($("#replay .panel"), () => {
    const { T } = stage;
    logSoftmax(examples[example].models.teacher.logits, T, logP.teacher);
    for (const role of STUDENTS) logSoftmax(logitsOf(role, example), moment === last ? T : T / students[role].scales[moment], logP[role]);
    const isRight = Object.fromEntries(STUDENTS.map((role) => [role, examples.map((_, k) => predicted(role, k) === k)]));
    answers.draw(logP, isRight);
    drawCurve(moment);
    table.dataset.moment = moment;
    table.dataset.temperature = T;
    label.data = momentText(epochs[moment], epochs[last]);
    slider.setAttribute("aria-valuetext", label.data);
    const [teacher, student, distilled] = ROLES.map((role) => percent(Math.exp(logP[role][example])));
    const times = totalVariation(logP.teacher, logP.student) / totalVariation(logP.teacher, logP.distilled);
    const [one, other] = STUDENTS.map((role) => isRight[role].filter(Boolean).length);
    sentence.data = `${label.data}, at T = ${T.toFixed(2)}, ${classes[example]} gets ${student} from the student alone and ${distilled} from the distilled student; the teacher gives it ${teacher}. ${nearness(times)} Right, of ${inWords(K)} examples: student alone ${one}, distilled ${other}.`;
  });

  function choose(k) {
    example = k;
    answers.mark(k);
    draw();
  }

  $("#replay-note").textContent = `Upper bar: the student alone; lower bar: the distilled student; outline: the teacher, which has finished learning. Marks below an example show which students get it right. Accuracy is on the validation images after each epoch; within the first epoch${epochs.indexOf(1) > 1 ? ", which is drawn wider," : ""} on those of them that were recorded.`;
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
