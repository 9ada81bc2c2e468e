// ---- the connection: a sentence when the server cannot be reached, none while it can -----------------

const ASK_SECONDS = 10, ASK_AGAIN_SECONDS = 3; // while it is there, while it is lost
const { root, api_prefix } = window.gradio_config;
let asking = null;

function showConnection(there) {
  const text = there ? "" : "The server cannot be reached: the temperature goes on working, a new photo must wait.";
  if ($("#connection").textContent !== text) $("#connection").textContent = text;
  clearTimeout(asking);
  asking = setTimeout(askForSignOfLife, (there ? ASK_SECONDS : ASK_AGAIN_SECONDS) * 1000);
}

async function askForSignOfLife() {
  // Nothing is asked under a moving hand, nor by a page that nobody looks at.
  if (slider.matches(":active") || playing || document.hidden) { showConnection($("#connection").textContent === ""); return; }
  try {
    showConnection((await fetch(`${root}${api_prefix}/app_id`, { cache: "no-store" })).ok);
  } catch {
    showConnection(false);
  }
}

window.addEventListener("offline", () => showConnection(false));
window.addEventListener("online", askForSignOfLife);
