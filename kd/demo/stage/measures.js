// ---- the distributions shown, measured ---------------------------------------------------------------

// How much of the teacher's order of the classes but its prediction a student shares: a rank correlation.
function orderShared(models, role) {
  const others = descending(models.teacher.logits).slice(1), ofOthers = ({ logits }) => others.map((k) => logits[k]);
  return rankCorrelation(ofOthers(models.teacher), ofOthers(models[role]));
}

// Entropy and divergences of the distributions shown, in nats; and how much of the teacher's order of the classes but
// its prediction a student shares, which no temperature changes.
function buildMeasures(stage) {
  const text = (name) => stage.$(`[data-measure=${name}]`).appendChild(document.createTextNode(""));
  const own = text("entropy"), kl = { student: text("kl-student"), distilled: text("kl-distilled") };
  const nats = (x) => x.toFixed(3) + " nats", shared = { student: text("order-student"), distilled: text("order-distilled") };
  stage.views.push({
    show(value) {
      if (!value?.models) return;
      for (const role of STUDENTS) shared[role].data = orderShared(value.models, role).toFixed(2);
    },
    draw() {
      if (!stage.value?.models) return;
      own.data = nats(entropy(stage.logP.teacher));
      for (const role of STUDENTS) kl[role].data = nats(divergence(stage.logP.teacher, stage.logP[role]));
    },
  });
}
