// ---- what was recorded of the networks: loaded when one of its two views is first opened -----------------

const LOADING = "Loading what was recorded …", NOT_LOADED = "It did not load. Please try again, or reload the page.";

// Calls `draw` at most once a frame, and but for the first time only while the node is in sight; returns what asks for it.
function drawnInSight(node, draw) {
  let wanted = true, frame = null; // a screen reader reads what nobody has seen yet
  function ask() {
    if (wanted) frame ??= requestAnimationFrame(() => { frame = null; draw(); });
  }
  new IntersectionObserver((entries) => { wanted = entries.at(-1).isIntersecting; ask(); }).observe(node);
  return ask;
}

// What builds the views. Its files come with what was recorded, as a text that belongs into this place; in a page without
// a server they are here already.
const buildersOf = ({ script }) => (script ? eval(`${script}; ({ map: buildMap, replay: buildReplay })`) : { map: buildMap, replay: buildReplay });

function buildRecordings(stage) {
  for (const name of ["map", "replay"]) {
    const view = stage.$(`#${name}`);
    if (!view) continue; // nothing was recorded for it
    const waiting = view.querySelector(".waiting"), panel = view.querySelector(".panel");
    let coming = null;
    view.addEventListener("toggle", () => {
      if (!view.open || coming) return;
      waiting.textContent = LOADING;
      coming = stage.source.recordings().then((views) => {
        waiting.textContent = "";
        panel.hidden = false;
        buildersOf(views)[name](stage, views[name]);
      }).catch((error) => {
        if (error) console.error(error); // without one it has not come in time
        panel.hidden = true;
        waiting.textContent = NOT_LOADED;
        coming = null;
      });
    });
  }
}
