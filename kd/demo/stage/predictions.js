// ---- the three predictions: label, certainty at T = 1, right or wrong where the true class is known ------

const LEARNT = { teacher: " parameters", student: ", from labels", distilled: ", taught" }; // after their number

function buildPredictions(stage) {
  stage.views.push({
    show(value) {
      if (!value?.models) return;
      stage.$("#answers").replaceChildren(...ROLES.map((role) => {
        const { name, label, confidence, parameters } = value.models[role], right = value.example && label === value.example;
        const verdict = value.example ? make("span", { className: "verdict", textContent: right ? " ✓" : " ✗", ariaHidden: "true" }) : "";
        const spoken = value.example ? make("span", { className: "spoken", textContent: right ? " (right)" : " (wrong)" }) : "";
        const card = make("li", { className: `answer ${role}${value.example && !right ? " wrong" : ""}` },
          make("span", { className: `mark ${role}`, ariaHidden: "true" }),
          make("span", { className: "who" }, make("span", { className: "name", textContent: name }), " ",
            make("small", { textContent: parameters + LEARNT[role] })),
          make("span", { className: "confidence" }, percent(confidence), make("small", {}, " at ", make("i", { textContent: "T" }), " = 1")),
          make("strong", {}, make("span", { className: "label", textContent: label }), verdict, spoken));
        card.dataset.model = role;
        return card;
      }));
      stage.$("#costs").replaceChildren(...ROLES.map((role) => {
        const { name, architecture, parameters, size, milliseconds } = value.models[role];
        return make("li", {}, make("b", { textContent: name }), ` ${architecture}, ${parameters} parameters, ${size}, ${milliseconds.toFixed(0)} ms for this answer`);
      }));
    },
  });
}
