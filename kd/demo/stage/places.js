// ---- where the classes lie on the map: a model of forces, relaxed once for all temperatures ------------

// A line pulls its two classes together, the stronger the thicker it is, at whatever distance, and all classes push one
// another away: so two groups come to lie the further apart the thinner the lines between them are (A. Noack, "Energy
// models for graph clustering", 2007: LinLog). A pull to the middle keeps everything on the map, a steep push keeps
// pictures from covering one another.
const PULL = 16, GRAVITY = 4.5, CORE = 0.02, ROUNDS = 40, FIRST_ROUNDS = 400, LONGEST_STEP = 0.02;

function relax(lines, pairs, places, rounds) {
  const { x, y } = places, fx = new Float64Array(x.length), fy = new Float64Array(x.length);
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < x.length; i++) { fx[i] = -GRAVITY * x[i]; fy[i] = -GRAVITY * y[i]; }
    for (let n = 0; n < pairs.length; n++) {
      const { i, j } = pairs[n], dx = x[j] - x[i], dy = y[j] - y[i], squared = dx * dx + dy * dy + 1e-9;
      const pull = (PULL * lines[n]) / Math.sqrt(squared) - 1 / squared - CORE / (squared * squared);
      fx[i] += pull * dx; fy[i] += pull * dy;
      fx[j] -= pull * dx; fy[j] -= pull * dy;
    }
    const cooling = 1 - round / rounds;
    for (let i = 0; i < x.length; i++) {
      const force = Math.hypot(fx[i], fy[i]), step = Math.min(0.01 * force, LONGEST_STEP) * cooling / (force + 1e-9);
      x[i] += step * fx[i];
      y[i] += step * fy[i];
    }
  }
}

// The places at each of these temperatures, ascending: from a circle at the one that is nearest to `start`, and from
// there to both ends, each from its neighbour's. So they depend on the logits and T alone, and move little with T.
function placesOver(temperatures, start, linesAt, pairs, classes) {
  const apart = (k) => Math.abs(Math.log(temperatures[k] / start));
  const nearest = temperatures.reduce((best, _, k) => (apart(k) < apart(best) ? k : best), 0);
  const circle = (of) => Float64Array.from({ length: classes }, (_, k) => of((2 * Math.PI * k) / classes));
  const first = { x: circle(Math.cos), y: circle(Math.sin) };
  relax(linesAt(temperatures[nearest]), pairs, first, FIRST_ROUNDS);
  const all = [];
  all[nearest] = first;
  for (const way of [-1, 1]) {
    for (let k = nearest + way; temperatures[k]; k += way) {
      all[k] = { x: all[k - way].x.slice(), y: all[k - way].y.slice() };
      relax(linesAt(temperatures[k]), pairs, all[k], ROUNDS);
    }
  }
  return all;
}
