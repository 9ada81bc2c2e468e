// ---- words: an explanation of each, where it is used -----------------------------------------------------

const WORDS = {
  logits: "Logits are the raw scores that a network gives to the classes, before they become probabilities.",
  softmax: "Softmax turns scores into probabilities: it raises e to each score and divides by the total, so they add up to 100%.",
  temperature: "The temperature T divides the scores before the softmax. At 1 they stay as they are; a higher T makes the probabilities more alike, but never changes their order.",
  "soft targets": "Soft targets are the teacher's probabilities at a temperature. The distilled student was trained to match its teacher's, not only the one true label.",
  "dark knowledge": "Dark knowledge is what the teacher gives to all classes but its answer: which mistakes would be small ones. Geoffrey Hinton's term.",
  distilled: "Distilled: trained on the teacher's soft targets and the labels. The student alone had only the labels.",
  nearer: "Nearer than the student alone. Distance is total variation: how much probability two distributions give to different classes.",
  nats: "A nat measures information, as a bit does: 1 nat is 1.44 bits. Ten equal classes have 2.303 nats of doubt.",
  KL: "The Kullback-Leibler divergence tells how far one distribution is from another: 0 when they are the same.",
  CE: "The cross-entropy is the student's surprise at the true class, in nats: 0 when it is certain of it.",
};

function buildWords(stage) {
  const note = stage.$("#word");
  // Lets a button show what `told` returns, in a note that takes no room.
  stage.explain = (button, told) => {
    button.setAttribute("popovertarget", "word");
    button.setAttribute("popovertargetaction", "show"); // another word while one is open takes its place
    button.addEventListener("click", () => {
      note.textContent = told();
      note.showPopover({ source: button }); // by which its size is known
      const { left, bottom } = button.getBoundingClientRect(), within = (at, room) => `${Math.max(8, Math.min(at, room - 8))}px`;
      note.style.left = within(left, window.innerWidth - note.offsetWidth);
      note.style.top = within(bottom + 6, window.innerHeight - note.offsetHeight);
    });
    return button;
  };
  const alike = stage.props.alike ? " Both are the same network, with the same start and images." : "";
  // It has a place in the window, so it goes where its word moves away.
  for (const sign of ["resize", "scroll"]) window.addEventListener(sign, () => note.hidePopover(), { passive: true });
  for (const button of stage.element.querySelectorAll("button.word")) {
    const word = button.dataset.word ?? button.textContent;
    stage.explain(button, () => WORDS[word] + (word === "distilled" ? alike : ""));
  }
}
