// A visitor's own picture in the game of the omitted class: what `card_of_upload` of kd/demo/omitted_class.py does on the
// server. Its networks come with the first such picture.

import { networksOf } from "./asking.js";
import { component } from "./component.js";
import game from "./game.js";
import { pictureOf, readPhoto, sentenceOf } from "./photo.js";
import { toNetworkSize } from "./shrink.js";

const WAYS_IN = "Drop a picture here, paste one, or choose one.";
const COMING = "Your picture is being answered. The first one loads the networks.";

// element: #game. props: the component's. runtime, networks: as networks.js takes them, the networks by the names under
// which the game has their logits.
// Returns {bring(file)}.
export function gameOf(element, { props, networks }, runtime) {
  const $ = (selector) => element.querySelector(selector), told = $("#game-image p");
  const set = component(game, element, props), inGame = networksOf(runtime, networks, [Object.keys(networks)], follow);
  let brought = 0; // a picture overtakes the one before it

  function show(value) {
    set("value", value);
    told.textContent = WAYS_IN;
    $("#game-image .remove").hidden = !value;
  }

  function follow() {
    if (inGame.problem && inGame.timed) { // nothing more comes of what was asked; the next picture tries again
      inGame.forget();
      show({ problem: inGame.problem });
    }
  }

  async function bring(file) {
    const number = ++brought;
    show(null);
    told.textContent = COMING;
    try {
      const networkInput = toNetworkSize(await readPhoto(file));
      if (number !== brought) return;
      if (!inGame.started || inGame.problem) inGame.start();
      const timed = await inGame.ask(networkInput.data);
      if (!timed) return; // overtaken, or told above why there are none
      const logits = Object.fromEntries(Object.entries(timed).map(([name, { logits: own }]) => [name, own]));
      show({ picture: pictureOf(networkInput), logits });
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
    inGame.forget();
    show(null);
    $("#game-image .choose").focus();
  });
  show(null);
  return { bring };
}
