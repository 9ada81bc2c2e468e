// ---- where logits come from: the only place that asks for them -----------------------------------------

const PATIENCE_SECONDS = 20; // with what was recorded

// A page without a server gives the same component its answers by itself: kd/site/site.js.
function gradioSource(props, trigger, watch) {
  // One question at a time, numbered; of those that wait, the last one counts. An answer may be announced twice.
  let asked = 0, answered = 0, next = null;
  // The file of the photo that the visitor has brought; null when it was removed, or an example or nothing is wanted.
  // Undefined as long as no photo was announced (page.py, gallery.js): a page without a server sees to it by itself.
  let wanted;
  document.addEventListener("photo", ({ detail }) => { wanted = detail; });
  function settle() { [answered, next] = [asked, null]; }
  return {
    // What every example shows, in class order: as answers, see `receive`.
    examples: props.examples,
    // The answer that the page came with.
    first: props.value ?? props.examples[props.first_example],
    // Ask for the answer to another part of a photo: {file, whole, across, down, side}.
    crop(question) {
      if (asked > answered) next = question;
      else trigger("crop", { ...question, number: ++asked });
    },
    // Whether an answer to a crop is still to come.
    get waiting() { return asked > answered; },
    get wanted() { return wanted; },
    // An example is shown: the component of uploads holds none any more, and none is waited for.
    leaveUpload() {
      settle();
      if (!wanted) return;
      wanted = null;
      trigger("example");
    },
    // Show the tab of the class that one student never saw, and its first control as soon as it is there.
    openGame() {
      openTab(props.game_tab);
      const look = (frames) => {
        const first = document.querySelector("#bet input");
        if (first) first.focus();
        else if (frames) requestAnimationFrame(() => look(frames - 1));
      };
      look(600);
    },
    // What was recorded of the networks, as kd/demo/recordings.py describes it; asked for when it is first wanted.
    recordings() {
      if (props.recordings) return Promise.resolve(props.recordings);
      return new Promise((come, fail) => {
        watch("recordings", () => props.recordings && come(props.recordings));
        setTimeout(fail, PATIENCE_SECONDS * 1000);
        trigger("recordings");
      });
    },
    // Call `listen` with every answer: {classes, models: {role: {logits, ...}}, example, file, photo, width, height,
    // crop, picture, warning, ...}, or {problem} with a sentence, or null. `photo` is null in the answer to a crop.
    receive(listen) {
      watch("value", () => {
        const answer = props.value;
        if (answer?.models && !answer.photo) { // to a crop
          if (answer.number !== asked || answered === asked) return;
          answered = asked;
          if (next) this.crop(next);
          next = null;
        } else settle(); // whatever else comes overtakes what was asked of a photo
        listen(answer);
      });
    },
  };
}
