// ---- the map of classes: lines as thick as two classes are taken for one another, at the present T -------

const PIXELS = 100; // of thickness, for a probability of 1
const STEPS = 40; // of T, for which places and curve are computed once
const WIDEST = 1.5; // times as wide as it is high
const NARROW = 420; // pixels of a map whose pictures are smaller
const GRIP = 12; // pixels from a line within which a click takes it

const times = (ratio) => `${ratio < 99 ? ratio.toFixed(1) : "over 99"} times`;
// How far T lies along the slider, 0 to 1.
const alongSlider = (T, { min_temperature: least, max_temperature: most }) => Math.log(T / least) / Math.log(most / least);

// What a map says at a T, by its measures (see measuresOf).
function mapSentence(subject, T, { mean, spread, kinship, thickest, thinnest }, lines, nameOf, classes) {
  const at = `At T = ${T.toFixed(2)}`, thick = `${nameOf(thickest)}, ${percent(lines[thickest])}`;
  if (mean < 1 / classes / 3) {
    return `${at} the classes are nearly islands: ${subject} gives all other classes together only ${percent(mean * (classes - 1))}; its thickest line is ${thick}.`;
  }
  if (spread < mean / 5) {
    return `${at} all is one grey ball: the thickest line, ${thick}, is only ${times(lines[thickest] / lines[thinnest])} as thick as the thinnest, ${nameOf(thinnest)}. Hardly anything tells the classes apart.`;
  }
  const [seen, which] = kinship > 1.2 ? ["kinship shows", "lines"] : ["there are lines, but no kinship", "those"];
  return `${at} ${seen}: for ${subject}, ${which} among animals and among vehicles are ${times(kinship)} as thick as those between the two; the thickest line is ${thick}, the thinnest ${nameOf(thinnest)}, ${percent(lines[thinnest])}.`;
}

// What the parts of the map share. `role` is that of the network shown, `means` and `lines` are what was computed last.
function confusionsOf({ classes, names }, recorded) {
  const K = classes.length, pairs = pairsOf(classes), means = new Float64Array(K * K), lines = new Float64Array(pairs.length);
  const networks = Object.fromEntries(Object.entries(recorded).map(([role, data]) => [role, decoded(data, K)]));
  const roles = ROLES.filter((role) => networks[role]);
  return {
    pairs, means, lines, networks, roles, role: roles[0],
    linesAt: (role, T) => linesOf(meanProbabilities(networks[role], T, K, means), pairs, K, lines),
    subjectOf: (role) => `the ${names[role].toLowerCase()}`,
    nameOf: (n) => `${classes[pairs[n].i]} – ${classes[pairs[n].j]}`,
  };
}

// The picture: each class's example, over the lines. `places` are the classes' at each step of T.
function buildMapPicture({ $, classes, props, source }, { pairs, lines }, places) {
  const node = $("#map-picture"), examples = new Map(source.examples.map((value) => [value.example, value.picture]));
  const lineNodes = pairs.map(({ i, j }) => svgNode("line", { "data-pair": `${classes[i]}-${classes[j]}` }));
  const pictureNodes = classes.map((name) => svgNode("g", {},
    svgNode("rect", { x: -22, y: -22, width: 44, height: 44, rx: 6 }),
    svgNode("image", { x: -20, y: -20, width: 40, height: 40, href: examples.get(name) ?? "" }),
    svgNode("text", { y: 34, "text-anchor": "middle" }, name)));
  node.querySelector(".lines").replaceChildren(...lineNodes);
  node.querySelector(".nodes").replaceChildren(...pictureNodes);

  const farthest = (axis) => Math.max(...places.flatMap((place) => [...place[axis]].map(Math.abs)));
  const reach = { x: farthest("x"), y: farthest("y") }; // which lies at the edge of the map
  const x = new Float64Array(classes.length), y = new Float64Array(classes.length); // pixels
  let size = { width: 1, height: 1 };

  function draw(T, mean) {
    const step = Math.max(0, Math.min(STEPS, STEPS * alongSlider(T, props)));
    const k = Math.min(STEPS - 1, Math.floor(step)), share = step - k, before = places[k], after = places[k + 1];
    const between = (axis, i) => (before[axis][i] * (1 - share) + after[axis][i] * share) / reach[axis];
    for (let i = 0; i < x.length; i++) {
      x[i] = size.width / 2 + between("x", i) * (Math.min(size.width, WIDEST * size.height) / 2 - 36);
      y[i] = size.height / 2 - 6 + between("y", i) * (size.height / 2 - 32);
      pictureNodes[i].setAttribute("transform", `translate(${x[i].toFixed(1)} ${y[i].toFixed(1)}) scale(${size.width < NARROW ? 0.8 : 1})`);
    }
    pairs.forEach(({ i, j }, n) => {
      const line = lineNodes[n], ends = { x1: x[i], y1: y[i], x2: x[j], y2: y[j] };
      for (const end in ends) line.setAttribute(end, ends[end].toFixed(1));
      line.setAttribute("stroke-width", (lines[n] * PIXELS).toFixed(3));
      // Colour for what stands out from the mean of all lines, grey for what does not.
      line.style.setProperty("--tells", `${(100 * Math.max(0, Math.min(1, lines[n] / mean - 1))).toFixed(0)}%`);
    });
  }

  return {
    node, draw,
    fit() {
      size = { width: node.clientWidth, height: node.clientHeight };
      node.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    },
    mark(n) { lineNodes.forEach((line, k) => line.classList.toggle("chosen", k === n)); },
    lineNear({ clientX, clientY }) {
      const { left, top } = node.getBoundingClientRect();
      return nearestLine(clientX - left, clientY - top, { x, y }, pairs, (n) => lines[n] * PIXELS, GRIP);
    },
  };
}

// The choice of the network shown, with a curve under the slider: how much its lines differ at each step of T.
function buildMapNetworks({ $, names, props }, confusions, temperatures, changed) {
  const { pairs, roles, linesAt, subjectOf } = confusions;
  const spreads = Object.fromEntries(roles.map((role) => [role, temperatures.map((T) => measuresOf(linesAt(role, T), pairs).spread)]));
  const widest = Math.max(...Object.values(spreads).flat());
  const buttons = roles.map((role) => {
    const button = make("button", { type: "button", className: role, textContent: names[role] });
    button.addEventListener("click", () => show(role));
    return button;
  });
  $("#map-networks").replaceChildren(...buttons);

  function show(role) {
    confusions.role = role;
    buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(roles[k] === role)));
    $("#map").dataset.role = role;
    const points = spreads[role].map((spread, k) => `${(100 * k) / STEPS} ${(100 - (94 * spread) / widest).toFixed(2)}`);
    $("#map-curve .spread").setAttribute("d", `M${points.join("L")}`);
    $("#map-curve .under").setAttribute("d", `M0 100L${points.join("L")}L100 100Z`);
    const best = spreads[role].indexOf(Math.max(...spreads[role]));
    const why = best > 0 && best < STEPS ? " Colder, they grow thin; hotter, they grow alike; in between, they tell most about kinship." : "";
    $("#map-best").textContent = `The curve under the slider shows how much the ${pairs.length} lines of ${subjectOf(role)} differ (standard deviation): most near T = ${temperatures[best].toFixed(1)}.${why}${props.by_soft_targets ? ` The distilled student was taught at T = ${props.taught_at}.` : ""}`;
    changed();
  }
  show(roles[0]);
}

// What is too much while the hand moves: the list of lines, the thickest first, and the table.
function buildMapNumbers(stage, confusions) {
  const { $, classes } = stage, { means, lines, linesAt, subjectOf, nameOf } = confusions, select = $("#map-pair"), table = $("#map-table");
  table.tHead.replaceChildren(make("tr", {}, make("th", { scope: "col", textContent: "images of" }), ...classes.map((name) => make("th", { scope: "col", className: "number", textContent: name }))));
  const cells = classes.flatMap((name) => {
    const own = classes.map(() => make("td", { className: "number" }));
    const row = table.tBodies[0].appendChild(make("tr", {}, make("th", { scope: "row", textContent: name }), ...own));
    row.dataset.class = name;
    return own;
  });
  return () => {
    const { T } = stage, { role } = confusions, { value } = select;
    linesAt(role, T);
    select.replaceChildren(make("option", { value: "", textContent: "none" }),
      ...descending([...lines]).map((n) => make("option", { value: n, textContent: `${nameOf(n)}, ${percent(lines[n])}` })));
    select.value = value;
    table.caption.textContent = `What ${subjectOf(role)} gives to each class at T = ${T.toFixed(2)}, on average over the images of the class at the left. A line of the map is the mean of two cells.`;
    cells.forEach((cell, k) => { cell.textContent = percent(means[k]); cell.dataset.value = means[k]; });
  };
}

function buildMap(stage, recorded) {
  const { $, props, classes } = stage, { min_temperature: MIN_T, max_temperature: MAX_T } = props;
  const confusions = confusionsOf(stage, recorded), { pairs, lines, roles, linesAt, subjectOf, nameOf } = confusions;
  // The places are computed once, by the first network's lines for all, so that between networks the lines alone differ.
  const temperatures = Array.from({ length: STEPS + 1 }, (_, k) => MIN_T * (MAX_T / MIN_T) ** (k / STEPS));
  const places = placesOver(temperatures, props.taught_at, (T) => linesAt(roles[0], T), pairs, classes.length);
  const picture = buildMapPicture(stage, confusions, places), line = buildMapLine(stage, confusions, picture.mark);
  const settle = buildMapNumbers(stage, confusions);
  const now = $("#map-curve .now"), sentence = $("#map-sentence").appendChild(document.createTextNode(""));
  const draw = drawnInSight($("#map .panel"), () => { // not the picture alone: the open line's numbers lie below it
    const { T } = stage, { role } = confusions, measures = measuresOf(linesAt(role, T), pairs);
    picture.draw(T, measures.mean);
    const at = (100 * alongSlider(T, props)).toFixed(2);
    now.setAttribute("x1", at);
    now.setAttribute("x2", at);
    sentence.data = mapSentence(subjectOf(role), T, measures, lines, nameOf, classes.length);
    line.tell();
  });

  picture.node.addEventListener("click", (event) => line.choose(picture.lineNear(event)));
  picture.node.addEventListener("pointermove", (event) => { picture.node.style.cursor = picture.lineNear(event) === null ? "" : "pointer"; });
  $("#map-numbers").addEventListener("toggle", settle);
  $("#map-note").textContent = `A line's thickness is the mean of two probabilities: what the network gives one class on ${confusions.networks[roles[0]].aClass} validation images of the other, on average, and vice versa. Colour marks lines thicker than the mean of all ${pairs.length}. The more ${subjectOf(roles[0])} confuses two classes, the nearer together they lie.`;
  new ResizeObserver(() => { picture.fit(); draw(); }).observe(picture.node);
  buildMapNetworks(stage, confusions, temperatures, () => { settle(); draw(); });
  stage.views.push({ draw, settle });
}
