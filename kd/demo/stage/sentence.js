// ---- the sentence above the chart: what is seen at this temperature, in plain words ------------------

// The sentence and the tour judge by these two, of the teacher's probabilities at T.

// Whether the order is lost to the eye, and no longer taught at: the likeliest class has not even twice its share of ten
// equal ones; of fewer classes, as little of the way to 1.
function isTooHot(T, taughtAt, largest, classes) {
  const share = 1 / classes;
  return T > taughtAt && largest < Math.min(2 * share, share + (1 - share) / 9);
}
const doubtsAloud = (largest) => largest < 0.9;

// What the teacher's distribution says, as [before, stressed, after, of the others, more]: of
// the last two a phone shows but the last.
function sentenceOf({ T, logP, order, props, value: { classes } }) {
  const p = (k) => Math.exp(logP.teacher[k]), [first, second, third] = order, last = order.at(-1);
  let others = 0;
  for (const k of order) if (k !== first) others += p(k);
  const near = nearness(totalVariation(logP.teacher, logP.student), totalVariation(logP.teacher, logP.distilled));
  if (isTooHot(T, props.taught_at, p(first), order.length)) {
    return ["Too hot: ", "all melts together", `, from ${percent(p(first))} for ${classes[first]} to ${percent(p(last))} for ${classes[last]}.`,
      `The others hold ${percent(others)}.`, near];
  }
  if (T < 1.005 && doubtsAloud(p(first))) {
    return ["The teacher wavers: ", `${classes[first]} ${percent(p(first))}`, `, ${classes[second]} ${percent(p(second))}.`,
      "", `${othersShare(order.length - 1)} ${percent(others)}: here it doubts aloud. Drag the temperature to hear more.`];
  }
  if (T < 0.995) {
    return ["Cooled down, only the answer is left: ", classes[first], `, ${percent(p(first))}.`,
      "", `${othersShare(order.length - 1)} ${percent(others)}. Drag the other way to see what the teacher holds back.`];
  }
  const hidden = `What it thinks of the other ${inWords(order.length - 1)} hides in the last ${percent(others)}.`;
  if (T < 1.005) {
    return ["The teacher is ", `${percent(p(first))} sure`, `: ${classes[first]}.`, "", `${hidden} Drag the temperature to warm it up.`];
  }
  if (others < 0.01) {
    return ["Still ", `${percent(p(first))} sure`, `: ${classes[first]}.`, "", `${hidden} Drag on to warm it up.`];
  }
  const end = p(last) < 0.01 ? `${article(classes[last])} is out of the question` : `${article(classes[last])} comes last`;
  const then = second === last ? "." : third === last ? `; ${end}.` : `, then ${classes[third]}; ${end}.`;
  return ["Warmed up, its doubts show: next comes ", classes[second], then, `The others hold ${percent(others)}: dark knowledge.`, near];
}

// Which student is nearer to the teacher, by the total variations of the two; a difference of a seventh is one.
function nearness(alone, distilled) {
  const times = alone / distilled;
  if (times > 1.15) return `The distilled student is ${times < 99 ? times.toFixed(1) : "over 99"} times nearer to the teacher than the student alone.`;
  if (times < 0.87) return "Here the distilled student is further from the teacher than the student alone.";
  return "Both students are about equally far from the teacher.";
}

function buildSentence(stage) {
  const parts = [...stage.$("#sentence").querySelectorAll("[data-part]")].map((node) => node.appendChild(document.createTextNode("")));
  stage.views.push({
    draw() {
      if (!stage.value?.models) return;
      sentenceOf(stage).forEach((text, i) => { if (parts[i].data !== text) parts[i].data = text; });
    },
  });
}
