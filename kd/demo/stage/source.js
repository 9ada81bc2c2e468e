// ---- where logits come from: the only place that asks for them -----------------------------------------

const PATIENCE_SECONDS = 20; // with what was recorded

// A page without a server gives the same component its values by itself: kd/site/site.js.
function sourceOf(props, trigger, watch) {
  // One question at a time, numbered; of those that wait, the last one counts. A value may be announced twice.
  let asked = 0, received = 0, next = null;
  // The file of the photo that the visitor has brought; null when it was removed, or an example or nothing is wanted.
  // Undefined as long as no photo was announced (page.py, gallery.js): a page without a server sees to it by itself.
  let wanted;
  document.addEventListener("photo", ({ detail }) => { wanted = detail; });
  function settle() { [received, next] = [asked, null]; }
  return {
    // What is shown of every example, in class order: values, see `receive`.
    examples: props.examples,
    // Ask for the value of another part of a photo: {file, whole} and, of a square, {across, down, side}.
    crop(question) {
      if (asked > received) next = question;
      else trigger("crop", { ...question, number: ++asked });
    },
    // Whether the value of a crop is still to come.
    get waiting() { return asked > received; },
    get wanted() { return wanted; },
    // Something else is shown, an example or the photo of a former `file`: none is waited for any more, and beside an
    // example the component of uploads holds none.
    leaveUpload(file = null) {
      settle();
      if (wanted === undefined) return;
      const held = wanted !== null;
      wanted = file;
      if (held && !file) trigger("example");
    },
    // What was recorded of the networks, as kd/demo/recordings.py describes it; asked for when it is first wanted.
    recordings() {
      if (props.recordings) return Promise.resolve(props.recordings);
      return new Promise((come, fail) => {
        watch("recordings", () => {
          if (props.recordings) come(props.recordings);
          else if (props.recordings === false) fail(); // as a page without a server says
        });
        setTimeout(fail, PATIENCE_SECONDS * 1000);
        trigger("recordings");
      });
    },
    // Call `listen` with every value: {classes, models: {role: {logits, ...}}, example, file, photo, width, height,
    // crop, picture, warning, ...}, or {problem, file}, a sentence and what it is of, or null. `photo` is null in that
    // of a crop. With a problem that `keeps` what is shown, the image stays; a crop's does.
    receive(listen) {
      watch("value", () => {
        const { value } = props;
        if (value?.models && !value.photo) { // of a crop
          if (value.number !== asked || received === asked) return;
          received = asked;
          if (next) this.crop(next);
          next = null;
        } else if (value?.file && wanted !== undefined && value.file !== wanted) return; // too late, it settles nothing
        else if (value?.of_crop && (received === asked || (value.number ?? asked) !== asked)) return; // of one before
        else settle(); // whatever else comes overtakes what was asked of a photo
        listen(value);
      });
    },
  };
}
