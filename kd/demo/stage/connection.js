// ---- the connection: a sentence when the server cannot be reached, none while it can -----------------

const ASK_SECONDS = 10, ASK_AGAIN_SECONDS = 3; // while it is there, while it is lost
const ANSWER_SECONDS = 15; // a large photo may be on its way, too
const LOST = "The server cannot be reached: temperature and examples still work, but a new photo must wait.";

function buildConnection(stage) {
  if (!window.gradio_config) return; // a page without a server has none to lose
  const signOfLife = `${window.gradio_config.root}${window.gradio_config.api_prefix}/app_id`;
  let lost = false, asking = null;

  function show(there) {
    if (lost === there) stage.$("#connection").textContent = there ? "" : LOST;
    lost = !there;
    askLater();
  }

  function askLater() {
    clearTimeout(asking);
    asking = setTimeout(ask, (lost ? ASK_AGAIN_SECONDS : ASK_SECONDS) * 1000);
  }

  // Nothing is asked under a moving hand, nor by a page that nobody looks at.
  async function ask() {
    if (stage.moving() || document.hidden) { askLater(); return; }
    try {
      show((await fetch(signOfLife, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_SECONDS * 1000) })).ok);
    } catch {
      show(false);
    }
  }

  window.addEventListener("offline", () => show(false));
  window.addEventListener("online", ask);
  askLater();
}
