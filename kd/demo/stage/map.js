// ---- the map of classes: lines as thick as two classes are taken for one another, at the present T -------

const PIXELS = 100; // of thickness, for a probability of 1
const STEPS = 40; // of T, for which places and curve are computed once
const WIDEST = 1.5; // times as wide as it is high
const NARROW = 420; // pixels of a map whose pictures are smaller
const GRIP = 12; // pixels from a line within which a click takes it

const times = (ratio) => `${ratio < 99 ? ratio.toFixed(1) : "over 99"} times`;
const capital = (text) => text[0].toUpperCase() + text.slice(1);

// What a map says at a T, by its measures (see measuresOf).
function mapSentence(subject, T, { mean, spread, kinship, thickest, thinnest }, lines, nameOf, classes) {
  const at = `At T = ${T.toFixed(2)}`, thick = `${nameOf(thickest)}, ${percent(lines[thickest])}`;
  if (mean < 1 / classes / 3) {
    return `${at} the classes are islands: ${subject} gives all other classes together only ${percent(mean * (classes - 1))}; its thickest line is ${thick}.`;
  }
  if (spread < mean / 5) {
    return `${at} all is one grey ball: the thickest line, ${thick}, is only ${times(lines[thickest] / lines[thinnest])} as thick as the thinnest, ${nameOf(thinnest)}. Hardly anything tells the classes apart.`;
  }
  const ends = `the thickest line is ${thick}, the thinnest ${nameOf(thinnest)}, ${percent(lines[thinnest])}`;
  return kinship > 1.2
    ? `${at} kinship shows: for ${subject}, lines among animals and among vehicles are ${times(kinship)} as thick as those between the two; ${ends}.`
    : `${at} there are lines, but no kinship: for ${subject}, those among animals and among vehicles are ${times(kinship)} as thick as those between the two; ${ends}.`;
}

function buildMap(stage, recorded) {
  const { $, props, classes, names } = stage, K = classes.length, pairs = pairsOf(classes);
  const { min_temperature: MIN_T, max_temperature: MAX_T, taught_at: TAUGHT_AT } = props;
  const networks = Object.fromEntries(Object.entries(recorded).map(([role, data]) => [role, decoded(data, K)]));
  const roles = ROLES.filter((role) => networks[role]);
  const means = new Float64Array(K * K), others = new Float64Array(K * K), lines = new Float64Array(pairs.length);
  const linesAt = (role, T) => linesOf(meanProbabilities(networks[role], T, K, means), pairs, K, lines);
  const subjectOf = (role) => `the ${names[role].toLowerCase()}`;
  const nameOf = (n) => `${classes[pairs[n].i]} – ${classes[pairs[n].j]}`;

  // Computed once: the places, by the first network's lines for all, so that between networks the lines alone differ;
  // and of each network how much its lines differ.
  const temperatures = Array.from({ length: STEPS + 1 }, (_, k) => MIN_T * (MAX_T / MIN_T) ** (k / STEPS));
  const places = placesOver(temperatures, TAUGHT_AT, (T) => linesAt(roles[0], T), pairs, K);
  const farthest = (axis) => Math.max(...places.flatMap((place) => [...place[axis]].map(Math.abs)));
  const reach = { x: farthest("x"), y: farthest("y") }; // which lies at the edge of the map
  const spreads = Object.fromEntries(roles.map((role) => [role, temperatures.map((T) => measuresOf(linesAt(role, T), pairs).spread)]));
  const widest = Math.max(...Object.values(spreads).flat());

  let role = roles[0], chosen = null; // the network shown, the position of the line that is open
  const x = new Float64Array(K), y = new Float64Array(K); // pixels
  let size = { width: 1, height: 1 };

  // The picture: each class's example, over the lines.
  const picture = $("#map-picture"), examples = new Map(stage.source.examples.map((value) => [value.example, value.picture]));
  const lineNodes = pairs.map(({ i, j }) => {
    const node = svgNode("line");
    node.dataset.pair = `${classes[i]}-${classes[j]}`;
    return node;
  });
  const pictureNodes = classes.map((name) => svgNode("g", {},
    svgNode("rect", { x: -22, y: -22, width: 44, height: 44, rx: 6 }),
    svgNode("image", { x: -20, y: -20, width: 40, height: 40, href: examples.get(name) ?? "" }),
    svgNode("text", { y: 34, "text-anchor": "middle" }, name)));
  picture.querySelector(".lines").replaceChildren(...lineNodes);
  picture.querySelector(".nodes").replaceChildren(...pictureNodes);

  function place(T) {
    const step = Math.max(0, Math.min(STEPS, (STEPS * Math.log(T / MIN_T)) / Math.log(MAX_T / MIN_T)));
    const k = Math.min(STEPS - 1, Math.floor(step)), share = step - k, before = places[k], after = places[k + 1];
    for (let i = 0; i < K; i++) {
      const along = (axis) => (before[axis][i] * (1 - share) + after[axis][i] * share) / reach[axis];
      x[i] = size.width / 2 + along("x") * (Math.min(size.width, WIDEST * size.height) / 2 - 36);
      y[i] = size.height / 2 - 6 + along("y") * (size.height / 2 - 32);
      pictureNodes[i].setAttribute("transform", `translate(${x[i].toFixed(1)} ${y[i].toFixed(1)}) scale(${size.width < NARROW ? 0.8 : 1})`);
    }
  }

  const now = $("#map-curve .now"), sentence = $("#map-sentence").appendChild(document.createTextNode(""));
  const draw = drawnInSight(picture, () => {
    const { T } = stage;
    linesAt(role, T);
    place(T);
    const measures = measuresOf(lines, pairs), { mean } = measures;
    pairs.forEach(({ i, j }, n) => {
      const node = lineNodes[n], ends = { x1: x[i], y1: y[i], x2: x[j], y2: y[j] };
      for (const end in ends) node.setAttribute(end, ends[end].toFixed(1));
      node.setAttribute("stroke-width", (lines[n] * PIXELS).toFixed(3));
      // Colour for what stands out from the mean of all lines, grey for what does not.
      node.style.setProperty("--tells", `${(100 * Math.max(0, Math.min(1, lines[n] / mean - 1))).toFixed(0)}%`);
    });
    const at = ((100 * Math.log(T / MIN_T)) / Math.log(MAX_T / MIN_T)).toFixed(2);
    now.setAttribute("x1", at);
    now.setAttribute("x2", at);
    sentence.data = mapSentence(subjectOf(role), T, measures, lines, nameOf, K);
    if (chosen !== null) tellLine();
  });

  // One line: the images confused by the network shown, and its two directions for each network.
  const select = $("#map-pair"), panel = $("#map-line"), title = panel.querySelector("h3"), tellImages = buildConfused(stage, panel);
  const counts = Object.fromEntries(roles.map((each) => [each, predictionCounts(networks[each], K)]));
  const rows = Object.fromEntries(roles.map((each) => {
    const cells = Array.from({ length: 4 }, () => make("td", { className: "number" }));
    return [each, { row: make("tr", {}, make("th", { scope: "row", textContent: names[each] }), ...cells), cells }];
  }));
  panel.querySelector("tbody").replaceChildren(...Object.values(rows).map(({ row }) => row));

  function tellLine() {
    const { i, j } = pairs[chosen];
    tellImages(networks[role], subjectOf(role), pairs[chosen], stage.T);
    for (const each of roles) {
      meanProbabilities(networks[each], stage.T, K, others);
      const there = others[i * K + j], back = others[j * K + i], { cells } = rows[each];
      [there, back, (there + back) / 2].forEach((p, k) => { cells[k].textContent = percent(p); cells[k].dataset.value = p; });
    }
  }

  function choose(n) {
    chosen = n;
    select.value = n ?? "";
    panel.hidden = n === null;
    lineNodes.forEach((node, k) => node.classList.toggle("chosen", k === n));
    if (n === null) return;
    const { i, j } = pairs[n], [a, b] = [classes[i], classes[j]], { aClass } = networks[role];
    title.textContent = capital(nameOf(n));
    panel.querySelector("caption").textContent = `How much of its probability each network gives the one class, on average over ${aClass} images of the other.`;
    const heads = panel.querySelectorAll("thead .number");
    heads[0].textContent = `${a} taken for ${b}`;
    heads[1].textContent = `${b} taken for ${a}`;
    for (const each of roles) {
      rows[each].cells[3].textContent = `${counts[each][i * K + j] + counts[each][j * K + i]} of ${2 * aClass}`;
    }
    tellLine();
    title.scrollIntoView({ block: "nearest" });
  }

  function close() {
    choose(null);
    select.focus();
  }

  $("#map-close").addEventListener("click", close);
  for (const node of [panel, select]) {
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || chosen === null) return;
      event.preventDefault(); // it is for this panel, and for nothing behind it
      close();
    });
  }
  select.addEventListener("change", () => choose(select.value === "" ? null : Number(select.value)));
  const near = (event) => {
    const box = picture.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = null, least = GRIP;
    pairs.forEach(({ i, j }, n) => {
      const dx = x[j] - x[i], dy = y[j] - y[i];
      const along = Math.max(0, Math.min(1, ((px - x[i]) * dx + (py - y[i]) * dy) / (dx * dx + dy * dy)));
      const apart = Math.hypot(px - x[i] - along * dx, py - y[i] - along * dy) - (lines[n] * PIXELS) / 2;
      if (apart < least) [best, least] = [n, apart];
    });
    return best;
  };
  picture.addEventListener("click", (event) => choose(near(event)));
  picture.addEventListener("pointermove", (event) => { picture.style.cursor = near(event) === null ? "" : "pointer"; });

  // What is too much while the hand moves: the list of lines, the thickest first, and the table.
  const table = $("#map-table"), numbers = $("#map-numbers");
  table.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "images of" }), ...classes.map((name) => make("th", { scope: "col", className: "number", textContent: name }))));
  const cells = classes.map((name) => {
    const own = classes.map(() => make("td", { className: "number" }));
    const row = table.tBodies[0].appendChild(make("tr", {}, make("th", { scope: "row", textContent: name }), ...own));
    row.dataset.class = name;
    return own;
  });
  function settle() {
    linesAt(role, stage.T);
    const order = descending([...lines]);
    select.replaceChildren(make("option", { value: "", textContent: "none" }),
      ...order.map((n) => make("option", { value: n, textContent: `${nameOf(n)}, ${percent(lines[n])}` })));
    select.value = chosen ?? "";
    table.caption.textContent = `What ${subjectOf(role)} gives to each class at T = ${stage.T.toFixed(2)}, on average over the images of the class at the left. A line of the map is the mean of two cells.`;
    cells.forEach((row, i) => row.forEach((cell, j) => {
      cell.textContent = percent(means[i * K + j]);
      cell.dataset.value = means[i * K + j];
    }));
  }
  numbers.addEventListener("toggle", settle);

  // Which network; and its curve under the slider.
  const buttons = roles.map((each) => {
    const button = make("button", { type: "button", className: each, textContent: names[each] });
    button.addEventListener("click", () => show(each));
    return button;
  });
  $("#map-networks").replaceChildren(...buttons);
  function show(each) {
    role = each;
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(roles[k] === role)));
    $("#map").dataset.role = role;
    const points = spreads[role].map((spread, k) => `${(100 * k) / STEPS} ${(100 - (94 * spread) / widest).toFixed(2)}`);
    $("#map-curve .spread").setAttribute("d", `M${points.join("L")}`);
    $("#map-curve .under").setAttribute("d", `M0 100L${points.join("L")}L100 100Z`);
    const best = spreads[role].indexOf(Math.max(...spreads[role]));
    const why = best > 0 && best < STEPS ? " Colder, they grow thin; hotter, they grow alike: most is to be learnt of kinship in between." : "";
    $("#map-best").textContent = `The curve under the slider is how much the ${pairs.length} lines of ${subjectOf(role)} differ (their standard deviation): most near T = ${temperatures[best].toFixed(1)}.${why} The distilled student was taught at T = ${TAUGHT_AT}.`;
    settle();
    draw();
  }

  const { aClass } = networks[roles[0]];
  $("#map-note").textContent = `A line is as thick as the mean of two probabilities: what the network gives the one class on ${aClass} validation images of the other, on average, and the other way round. Colour marks lines that stand out from the mean of all ${pairs.length}; grey ones say little. Classes lie the nearer to one another the more ${subjectOf(roles[0])} takes them for one another.`;
  new ResizeObserver(() => {
    size = { width: picture.clientWidth, height: picture.clientHeight };
    picture.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    draw();
  }).observe(picture);
  show(role);
  stage.views.push({ draw, settle });
}
