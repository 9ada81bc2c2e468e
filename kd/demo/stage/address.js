// ---- the address: a link to the page shows what its sender saw ---------------------------------------

function buildAddress(stage) {
  const { source, props, options } = stage, names = source.examples.map(({ example }) => example);
  const FIRST_EXAMPLE = names[props.first_example], START_T = props.start_temperature;
  const photos = new Map(); // file -> what is shown of a visitor's photo: no link holds it, but Back can return to it

  // What an address asks for. An entry of the history that was left with a photo holds its file.
  function wanted() {
    const asked = new URLSearchParams(location.search), t = parseFloat(asked.get("T")), example = asked.get("example");
    return {
      file: history.state?.file ?? null,
      example: names.includes(example) ? example : FIRST_EXAMPLE,
      T: Number.isFinite(t) ? t : START_T,
      order: asked.get("order") === "class" ? "class" : "teacher",
      log: asked.get("scale") === "log",
      ghost: asked.get("ghost") === "on",
      large: asked.get("type") === "large",
      tour: stage.tour.has(Number(asked.get("tour"))) ? Number(asked.get("tour")) : 0,
    };
  }

  // The address of what is shown; what is as at the start is left out, and what others put there stays.
  function addressOfView() {
    const url = new URL(location.href), { example } = stage.value;
    const say = (name, text) => (text ? url.searchParams.set(name, text) : url.searchParams.delete(name));
    say("example", example !== FIRST_EXAMPLE && example);
    say("T", !stage.tour.step && stage.T !== START_T && stage.T.toFixed(2)); // a step has its own
    say("type", options.large && "large");
    say("tour", stage.tour.step);
    say("order", options.order === "class" && "class");
    say("scale", options.log && "log");
    say("ghost", options.ghost && "on");
    return url;
  }

  // A new image, or step of the tour, is a new entry in the browser's history; anything else changes the present one.
  function write() {
    if (!stage.value?.models) return;
    const { file, example } = stage.value, url = addressOfView(), entry = { ...history.state, file }, before = wanted();
    if (file) photos.set(file, { ...stage.value, problem: undefined }); // which is not to come back with it
    if (before.file !== file || (!file && before.example !== example) || before.tour !== stage.tour.step) history.pushState(entry, "", url);
    else if (url.href !== location.href) history.replaceState(entry, "", url);
    else return;
    // A Space shows the page inside a frame: its own address follows when told.
    if (window.parent !== window) window.parent.postMessage({ queryString: url.search.slice(1) }, "https://huggingface.co");
  }

  function follow() {
    const view = wanted(), photo = photos.get(view.file);
    stage.pause();
    source.leaveUpload(photo ? view.file : null);
    // After a reload a photo is gone: its entry becomes that of the example which its address shows.
    if (view.file && !photo) history.replaceState({ ...history.state, file: null }, "");
    stage.show(photo ?? source.examples[names.indexOf(view.example)]);
    stage.setOptions({ order: view.order, log: view.log, ghost: view.ghost, large: view.large });
    stage.tour.go(view.tour);
    if (!view.tour) stage.setTemperature(view.T); // last: a tour that is ended while it glides sets its own
  }

  window.addEventListener("popstate", () => {
    if (!stage.element.checkVisibility()) openTab(props.stage_tab); // the history is the stage's alone
    follow();
  });
  if (props.value?.models) photos.set(props.value.file, props.value); // the component came back with it
  follow();
  stage.writeAddress = write;
  stage.views.push({ settle: write });
}
