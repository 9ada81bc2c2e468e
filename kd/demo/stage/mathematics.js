// ---- mathematics, on arrays that are filled again and again, so that a drag leaves no garbage --------

// log softmax(logits / T), of one image, into `logP`; stable for logits of any size
function logSoftmax(logits, T, logP) {
  let largest = -Infinity, sum = 0;
  for (const z of logits) largest = Math.max(largest, z / T);
  for (const z of logits) sum += Math.exp(z / T - largest);
  const logSum = largest + Math.log(sum);
  for (let k = 0; k < logits.length; k++) logP[k] = logits[k] / T - logSum;
  return logP;
}

// in nats, of logarithms of probabilities
function entropy(logP) {
  let sum = 0;
  for (const l of logP) sum -= Math.exp(l) * l;
  return sum;
}

// KL(P || Q) in nats
function divergence(logP, logQ) {
  let sum = 0;
  for (let k = 0; k < logP.length; k++) sum += Math.exp(logP[k]) * (logP[k] - logQ[k]);
  return sum;
}

// the probability that P and Q give to different classes, 0 to 1
function totalVariation(logP, logQ) {
  let sum = 0;
  for (let k = 0; k < logP.length; k++) sum += Math.abs(Math.exp(logP[k]) - Math.exp(logQ[k]));
  return sum / 2;
}

// The positions of the numbers, largest first; of equal ones the first comes first.
const descending = (numbers) => numbers.map((_, k) => k).sort((a, b) => numbers[b] - numbers[a]);

// Spearman's rank correlation of two lists of numbers, -1 to 1
function rankCorrelation(a, b) {
  const ranksOf = (numbers) => {
    const ranks = [];
    descending(numbers).forEach((k, rank) => { ranks[k] = rank; });
    return ranks;
  };
  const ours = ranksOf(a), theirs = ranksOf(b), n = a.length;
  if (n < 2) return 1;
  const squares = ours.reduce((sum, rank, k) => sum + (rank - theirs[k]) ** 2, 0);
  return 1 - (6 * squares) / (n * (n * n - 1));
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
const article = (noun) => (/^[aeiou]/.test(noun) ? "an " : "a ") + noun;

// A small number as a word: "nine" others of ten.
const inWords = (n) => ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"][n] ?? String(n);
const othersShare = (n) => (n === 1 ? "The other one has" : `The other ${inWords(n)} share`);
const othersHold = (n) => (n === 1 ? "other one holds" : `other ${inWords(n)} hold`);

// A share of images; certainties have `percent`.
const rate = (share) => (share * 100).toFixed(1) + "%";

// Never "100%" of what is not certain, nor "0%" of what is not impossible. The sign does not part from its number.
function percent(p) {
  if (p > 0.9995) return ">\u00a099.9%";
  if (p < 0.00005) return "<\u00a00.01%";
  return (p * 100).toFixed(p < 0.00995 ? 2 : 1) + "%";
}
