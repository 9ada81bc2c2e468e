// Whether an image may show none of the ten classes: kd/out_of_class.py in the browser. It tests both scores, the
// cosine of the teacher's logits with each class's mean logits, and the distance of its first layer's contrasts from
// those of validation images.

import { SIZE } from "./shrink.js";

const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);

// warner: as `browser_warner` of build.py makes it; null where nothing was measured, and nobody is warned then.
// Returns a function of the teacher's logits and of its input, SIZE x SIZE x 3 bytes in RGB.
export function warnerOf(warner) {
  if (!warner) return () => false;
  const { cosine_below: least, distance_above: farthest, floor, mean, std, side, stride, padding } = warner;
  const [means, centre, precision, filters, biases] = ["means", "centre", "precision", "filters", "biases"].map((name) => floats(warner[name]));
  const across = Math.floor((SIZE + 2 * padding - side) / stride) + 1;

  // The logarithm of a filter's variance over the image; margins are 0 after the normalisation.
  function contrast(filter, pixels) {
    let sum = 0, squares = 0;
    for (let y = 0; y < across; y++) {
      for (let x = 0; x < across; x++) {
        let response = biases[filter];
        for (let down = Math.max(0, padding - y * stride); down < side; down++) {
          const row = y * stride + down - padding;
          if (row >= SIZE) break;
          for (let right = Math.max(0, padding - x * stride); right < side; right++) {
            const column = x * stride + right - padding;
            if (column >= SIZE) break;
            for (let channel = 0; channel < 3; channel++) {
              response += filters[((filter * 3 + channel) * side + down) * side + right] * pixels[(row * SIZE + column) * 3 + channel];
            }
          }
        }
        sum += response;
        squares += response * response;
      }
    }
    const n = across * across;
    return Math.log(Math.max(0, squares / n - (sum / n) ** 2) + floor);
  }

  // The rows of `means` have length 1.
  function largestCosine(logits) {
    const along = logits.map((_, row) => logits.reduce((sum, z, at) => sum + z * means[row * logits.length + at], 0));
    return Math.max(...along) / Math.hypot(...logits);
  }

  return (logits, image) => {
    if (largestCosine(logits) < least) return true;
    const pixels = Float64Array.from(image, (value, at) => (value / 255 - mean[at % 3]) / std[at % 3]);
    const apart = Float64Array.from(centre, (value, filter) => contrast(filter, pixels) - value);
    let distance = 0;
    apart.forEach((one, i) => apart.forEach((other, j) => (distance += one * precision[i * apart.length + j] * other)));
    return distance > farthest;
  };
}
