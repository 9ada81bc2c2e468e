// ---- a line of the map that is open: the images confused, and its two directions for each network ---------

// Opens a line, by its position; null closes the panel. `mark` shows on the map which is open.
function buildMapLine(stage, confusions, mark) {
  const { $, classes, names } = stage, { pairs, networks, roles, subjectOf, nameOf } = confusions, K = classes.length;
  const select = $("#map-pair"), panel = $("#map-line"), title = panel.querySelector("h3 span"), heads = panel.querySelectorAll("thead .number");
  const tellImages = buildConfused(stage, panel), means = new Float64Array(K * K);
  const counts = Object.fromEntries(roles.map((role) => [role, predictionCounts(networks[role], K)]));
  const cells = Object.fromEntries(roles.map((role) => [role, Array.from({ length: 4 }, () => make("td", { className: "number" }))]));
  panel.querySelector("tbody").replaceChildren(...roles.map((role) => make("tr", {}, make("th", { scope: "row", textContent: names[role] }), ...cells[role])));
  let chosen = null;

  // What depends on T and on the network shown.
  function tell() {
    if (chosen === null) return;
    const { i, j } = pairs[chosen], { role: shown } = confusions;
    tellImages(networks[shown], subjectOf(shown), pairs[chosen], stage.T);
    for (const role of roles) {
      meanProbabilities(networks[role], stage.T, K, means);
      const there = means[i * K + j], back = means[j * K + i];
      [there, back, (there + back) / 2].forEach((p, k) => { cells[role][k].textContent = percent(p); cells[role][k].dataset.value = p; });
    }
  }

  function choose(n) {
    chosen = n;
    select.value = n ?? "";
    panel.hidden = n === null;
    mark(n);
    if (n === null) return;
    const { i, j } = pairs[n], [a, b] = [classes[i], classes[j]], { aClass } = networks[confusions.role];
    title.textContent = capital(nameOf(n));
    panel.querySelector("caption").textContent = `The probability that each network gives one class, on average over ${aClass} images of the other.`;
    heads[0].textContent = `${a} taken for ${b}`;
    heads[1].textContent = `${b} taken for ${a}`;
    for (const role of roles) cells[role][3].textContent = `${counts[role][i * K + j] + counts[role][j * K + i]} of ${2 * aClass}`;
    tell();
    title.scrollIntoView({ block: "nearest" });
  }

  const close = () => { choose(null); select.focus(); };
  $("#map-close").addEventListener("click", close);
  $("#map").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || chosen === null) return;
    event.preventDefault(); // it is for this panel, and for nothing behind it
    close();
  });
  select.addEventListener("change", () => choose(select.value === "" ? null : Number(select.value)));
  return { tell, choose };
}
