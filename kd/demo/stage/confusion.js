// ---- which classes a network takes for one another, from its recorded logits at any T ----------------

const VEHICLES = ["airplane", "automobile", "ship", "truck"]; // the other six of CIFAR-10's classes are animals

const signedBytes = (text) => Int8Array.from(atob(text), (letter) => letter.charCodeAt(0)); // of base64

// What was recorded of a network: `logits` are small integers, `scale` times which are the true ones, image by image;
// the images come class by class, as many of each.
function decoded({ logits, scale }, classes) {
  const numbers = signedBytes(logits);
  return { logits: numbers, scale, aClass: numbers.length / classes ** 2 };
}

const powers = new Float64Array(256); // of e, for all differences that two such integers can have

// The mean of softmax(logits / T) over the images of each class, into `means`: a row for each class of the images.
// The sum of a row is 1.
function meanProbabilities({ logits, scale, aClass }, T, classes, means) {
  for (let d = 0; d < 256; d++) powers[d] = Math.exp((-d * scale) / T);
  means.fill(0);
  for (let image = 0, at = 0; at < logits.length; image++, at += classes) {
    const row = Math.floor(image / aClass) * classes;
    let largest = -128, sum = 0;
    for (let k = 0; k < classes; k++) if (logits[at + k] > largest) largest = logits[at + k];
    for (let k = 0; k < classes; k++) sum += powers[largest - logits[at + k]];
    for (let k = 0; k < classes; k++) means[row + k] += powers[largest - logits[at + k]] / (sum * aClass);
  }
  return means;
}

// How often each class is predicted for the images of each class.
function predictionCounts({ logits, aClass }, classes) {
  const counts = new Uint16Array(classes * classes);
  for (let image = 0, at = 0; at < logits.length; image++, at += classes) {
    const own = logits.subarray(at, at + classes);
    counts[Math.floor(image / aClass) * classes + own.indexOf(Math.max(...own))]++;
  }
  return counts;
}

// Each two classes once, a line of the map each.
function pairsOf(classes) {
  const pairs = [];
  for (let i = 0; i < classes.length; i++) {
    for (let j = i + 1; j < classes.length; j++) {
      pairs.push({ i, j, akin: VEHICLES.includes(classes[i]) === VEHICLES.includes(classes[j]) });
    }
  }
  return pairs;
}

// A line is as thick as the mean of the two directions: i's images taken for j, and j's for i.
function linesOf(means, pairs, classes, lines) {
  pairs.forEach(({ i, j }, n) => { lines[n] = (means[i * classes + j] + means[j * classes + i]) / 2; });
  return lines;
}

// The line that passes nearest to a point, by position; null where none has its edge within `grip`. All are in pixels.
function nearestLine(px, py, { x, y }, pairs, thicknessOf, grip) {
  let best = null, least = grip;
  pairs.forEach(({ i, j }, n) => {
    const dx = x[j] - x[i], dy = y[j] - y[i];
    const along = Math.max(0, Math.min(1, ((px - x[i]) * dx + (py - y[i]) * dy) / (dx * dx + dy * dy)));
    const apart = Math.hypot(px - x[i] - along * dx, py - y[i] - along * dy) - thicknessOf(n) / 2;
    if (apart < least) [best, least] = [n, apart];
  });
  return best;
}

// What all lines together say: their mean, how much they differ (standard deviation), the thickest and the thinnest (by
// position), and how many times as thick lines within animals or vehicles are as those between the two.
function measuresOf(lines, pairs) {
  const mean = (chosen) => { let sum = 0, n = 0; lines.forEach((w, k) => { if (chosen(k)) { sum += w; n++; } }); return sum / n; };
  const all = mean(() => true);
  let squares = 0, thickest = 0, thinnest = 0;
  lines.forEach((w, k) => {
    squares += (w - all) ** 2;
    if (w > lines[thickest]) thickest = k;
    if (w < lines[thinnest]) thinnest = k;
  });
  const kinship = mean((k) => pairs[k].akin) / mean((k) => !pairs[k].akin);
  return { mean: all, spread: Math.sqrt(squares / lines.length), thickest, thinnest, kinship };
}
