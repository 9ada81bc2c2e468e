// ---- the examples: one stop for the Tab key, arrows go from one to the next ----------------------------

function buildExamples(stage) {
  const { $, source } = stage;
  const buttons = source.examples.map((value, position) => {
    const button = make("button", { type: "button", title: value.example },
      make("img", { src: value.picture, alt: value.example, width: 44, height: 44 }));
    button.addEventListener("click", () => {
      stage.pause();
      source.leaveUpload();
      stage.show(source.examples[position]);
      stage.settleLater();
    });
    button.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[plainKey(event)];
      if (!by) return;
      const next = buttons[(position + by + buttons.length) % buttons.length];
      for (const each of buttons) each.tabIndex = each === next ? 0 : -1;
      next.focus();
      event.preventDefault();
    });
    return button;
  });
  $("#examples").replaceChildren(...buttons);
  stage.views.push({
    show(value) {
      const shown = source.examples.findIndex(({ example }) => example === value?.example);
      buttons.forEach((button, position) => {
        button.setAttribute("aria-pressed", String(position === shown));
        button.tabIndex = position === Math.max(shown, 0) ? 0 : -1;
      });
    },
  });
}
