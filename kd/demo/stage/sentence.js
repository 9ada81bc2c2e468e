// ---- the sentence above the chart: what is seen at this temperature, in plain words ------------------

// The sentence and the tour judge by these two, of the teacher's probabilities at T.

// Whether the order is lost to the eye, and no longer taught at: the likeliest class has less than three times as much as
// the least likely one, and of two classes less than 60%.
const isTooHot = (T, taughtAt, largest, least) => T > taughtAt && largest < Math.min(3 * least, 0.6);
const doubtsAloud = (largest) => largest < 0.9;

// What the teacher's distribution says, as [before, stressed, after, term, of the others, more, over all examples].
function sentenceOf({ T, logP, order, props, source, value: { classes } }) {
  const p = (k) => Math.exp(logP.teacher[k]), [first, second, third] = order, last = order.at(-1);
  let others = 0;
  for (const k of order) if (k !== first) others += p(k);
  const times = totalVariation(logP.teacher, logP.student) / totalVariation(logP.teacher, logP.distilled);
  const near = [nearness(times), times > NEARER ? "" : nearnessOverAll(source.examples, T)];
  if (isTooHot(T, props.taught_at, p(first), p(last))) {
    return ["Too hot: ", "all melts together", `, from ${percent(p(first))} for ${classes[first]} to ${percent(p(last))} for ${classes[last]}.`,
      "", `The ${othersHold(order.length - 1)} ${percent(others)}.`, ...near];
  }
  if (T < 1.005 && doubtsAloud(p(first))) {
    return ["The teacher wavers: ", `${classes[first]} ${percent(p(first))}`, `, ${classes[second]} ${percent(p(second))}.`,
      "", "", `${othersShare(order.length - 1)} ${percent(others)}: here it doubts aloud. Drag the temperature to hear more.`, ""];
  }
  if (T < 0.995) {
    return ["Cooled down, only the answer is left: ", classes[first], `, ${percent(p(first))}.`,
      "", "", `${othersShare(order.length - 1)} ${percent(others)}. Drag the other way to see what the teacher holds back.`, ""];
  }
  const hidden = `What it thinks of the other ${inWords(order.length - 1)} hides in the last ${percent(others)}.`;
  if (T < 1.005) {
    return ["The teacher is ", `${percent(p(first))} sure`, `: ${classes[first]}.`, "", "", `${hidden} Drag the temperature to warm it up.`, ""];
  }
  if (others < 0.01) {
    return ["Still ", `${percent(p(first))} sure`, `: ${classes[first]}.`, "", "", `${hidden} Drag on to warm it up.`, ""];
  }
  const end = p(last) < 0.1 / order.length ? `${article(classes[last])} is out of the question` : `${article(classes[last])} comes last`;
  const then = second === last ? "." : third === last ? `; ${end}.` : `, then ${classes[third]}; ${end}.`;
  return ["Warmed up, its doubts show: next comes ", classes[second], then, "Dark knowledge", `: the ${othersHold(order.length - 1)} ${percent(others)}.`, ...near];
}

const NEARER = 1.15; // times: by less nobody sees it

// Which student is nearer to the teacher, in a sentence.
function nearness(times) {
  if (times > NEARER) return `The distilled student is ${times < 99 ? times.toFixed(1) : "over 99"} times nearer to the teacher.`;
  if (times * NEARER < 1) return "Here the distilled student is further from the teacher.";
  return "Both students are about equally far from the teacher.";
}

// The same over all examples, where it is the distilled one.
function nearnessOverAll(examples, T) {
  const times = timesNearer(examples, T);
  return times > NEARER && times < 99 ? ` Over all examples the distilled one is ${times.toFixed(1)} times nearer to it.` : "";
}

// How many times nearer to the teacher the distilled student is on average, by the total variation.
function timesNearer(examples, T) {
  const apart = { student: 0, distilled: 0 };
  for (const { models } of examples) {
    for (const role of ROLES) logSoftmax(models[role].logits, T, scratch[role]);
    for (const role of STUDENTS) apart[role] += totalVariation(scratch.teacher, scratch[role]);
  }
  return apart.student / apart.distilled;
}
const scratch = { teacher: [], student: [], distilled: [] };

function buildSentence(stage) {
  const parts = [...stage.$("#sentence").querySelectorAll("[data-part]")].map((node) => node.appendChild(document.createTextNode("")));
  stage.views.push({
    draw() {
      if (!stage.value?.models) return;
      sentenceOf(stage).forEach((text, i) => { if (parts[i].data !== text) parts[i].data = text; });
    },
  });
}
