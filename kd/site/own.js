// A visitor's own picture in the game of the class that one student never saw: what kd/demo/omitted_class.py answers on
// the server. The two networks come with the first such picture.

import { networksOf } from "./answers.js";
import { component } from "./component.js";
import game from "./game.js";
import { pictureOf, readPhoto, sentenceOf } from "./photo.js";
import { toNetworkSize } from "./shrink.js";

const WAYS_IN = "Drop a picture here, paste one, or choose one.";
const COMING = "Your picture is being answered. The networks come with the first one.";

// element: #game. props: the component's. runtime, networks: as networks.js takes them, the networks by the names under
// which the game has their answers.
// Returns {bring(file)}.
export function gameOf(element, { props, networks }, runtime) {
  const $ = (selector) => element.querySelector(selector), told = $("#game-image p");
  const set = component(game, element, props), both = networksOf(runtime, networks, [Object.keys(networks)], follow);
  let brought = 0; // a picture overtakes the one before it

  function show(value) {
    set("value", value);
    told.textContent = WAYS_IN;
    $("#game-image .remove").hidden = !value;
  }

  function follow() {
    if (both.problem && both.answered) { // what was asked is not answered any more; the next picture tries again
      both.forget();
      show({ problem: both.problem });
    }
  }

  async function bring(file) {
    const number = ++brought;
    show(null);
    told.textContent = COMING;
    try {
      const seen = toNetworkSize(await readPhoto(file));
      if (number !== brought) return;
      if (!both.started || both.problem) both.start();
      const answers = await both.ask(seen.data);
      if (!answers) return; // overtaken, or told above why there are none
      const logits = Object.fromEntries(Object.entries(answers).map(([name, answer]) => [name, answer.logits]));
      show({ picture: pictureOf(seen), logits });
    } catch (error) {
      if (number === brought) show({ problem: sentenceOf(error) });
    }
  }

  const input = $("#game-image input");
  input.addEventListener("change", () => {
    if (input.files.length) bring(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  $("#game-image .choose").addEventListener("click", () => input.click());
  $("#game-image .remove").addEventListener("click", () => {
    brought += 1;
    both.forget();
    show(null);
    $("#game-image .choose").focus();
  });
  show(null);
  return { bring };
}
