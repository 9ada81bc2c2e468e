// ---- the address: a link to the page shows what its sender saw ---------------------------------------

const FIRST_EXAMPLE = props.first_example; // what an address without an example shows

// What an address asks for. An entry that was left with an upload says so: a photo is not in its address.
function wanted() {
  const asked = new URLSearchParams(location.search), t = parseFloat(asked.get("T")), example = asked.get("example");
  return {
    example: history.state?.upload ? null : props.examples.includes(example) ? example : FIRST_EXAMPLE,
    T: Number.isFinite(t) ? t : START_T,
    order: asked.get("order") === "class" ? "class" : "teacher",
    log: asked.get("scale") === "log",
    ghost: asked.get("ghost") === "on",
  };
}

// The address of what is shown; what is as at the start is left out, and what others put there stays.
function addressOfView() {
  const url = new URL(location.href), example = props.value?.example;
  const say = (name, text) => (text ? url.searchParams.set(name, text) : url.searchParams.delete(name));
  say("example", example !== FIRST_EXAMPLE && example);
  say("T", T !== START_T && T.toFixed(2));
  say("order", orderSwitch.value === "class" && "class");
  say("scale", logSwitch.checked && "log");
  say("ghost", ghostSwitch.checked && "on");
  return url;
}

let awaited = null; // the example that an address asked for, until it comes

// A new image is a new entry in the browser's history; anything else changes the present one.
function writeAddress() {
  if (awaited) return;
  const example = props.value?.example ?? null, url = addressOfView(), state = { ...history.state, upload: !example };
  if (wanted().example !== example) history.pushState(state, "", url);
  else if (url.href !== location.href) history.replaceState(state, "", url);
  else return;
  // A Space shows the page inside a frame: its own address follows when told.
  if (window.parent !== window) window.parent.postMessage({ queryString: url.search.slice(1) }, "https://huggingface.co");
}

function followAddress() {
  const view = wanted();
  pause();
  orderSwitch.value = view.order;
  logSwitch.checked = view.log;
  ghostSwitch.checked = view.ghost;
  setTemperature(view.T);
  showOptions();
  if (view.example && view.example !== props.value?.example) {
    awaited = view.example;
    trigger("example", { position: props.examples.indexOf(awaited) });
  }
}

window.addEventListener("popstate", followAddress);
