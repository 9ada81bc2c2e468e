// The game of the omitted class. Gradio calls this, behind the stage's elements and mathematics, with
// `element`, `props`, `trigger` and `watch`; a page without a server does the same. The six cards' logits come when the
// game comes into sight, unless they are there: `props.cards`. Its value is what is shown of a visitor's own picture (omitted_class.py, kd/site/own.js), {"problem": a sentence}, or null.

const { classes, omitted, measured } = props, OMITTED = classes.indexOf(omitted);
const NETWORKS = ["student", "control"];
const $ = (selector) => element.querySelector(selector);
const one = article(omitted);
const many = omitted === "deer" ? omitted : `${omitted}s`;
const signed = (bias) => (bias < 0 ? "−" : "+") + Math.abs(bias).toFixed(2);

let cards = [], withControl = false;
let turned = [], bet = null; // the places of the cards that are up, in the order in which they were turned
let clicked = null; // the card that the visitor chose

// What a network says of a card: its class and how sure it is; with the correction where that is switched on.
function predictionOf(network, { logits: { [network]: plain } }) {
  const logits = [...plain];
  if ($("#corrected").checked) logits[OMITTED] += measured[network]?.bias ?? 0;
  const [first] = descending(logits);
  return { label: classes[first], right: first === OMITTED, sure: Math.exp(logSoftmax(logits, 1, [])[first]) };
}

const networksOf = (card) => NETWORKS.filter((network) => card.logits[network]);
const named = (network) => turned.filter((place) => predictionOf(network, cards[place]).right).length;

// `judged`: whether the card is known to show the class; nobody knows it of a visitor's picture.
function saidBy(network, card, judged) {
  const { label, right, sure } = predictionOf(network, card), sign = judged ? (right ? " ✓" : " ✗") : "";
  return make("div", { className: judged && !right ? "said wrong" : "said" },
    make("span", { className: `mark ${network}`, ariaHidden: "true" }), make("b", { textContent: label + sign }),
    make("small", { textContent: `${network}, ${percent(sure)}` }));
}

function faceUp(card, judged) {
  const face = make("div", { className: "face" }, make("img", { src: card.picture, alt: judged ? one : "Your picture as the networks see it" }));
  return [face, ...networksOf(card).map((network) => saidBy(network, card, judged))];
}

// Of the card that was turned just now the picture turns, too.
function drawCards(justTurned) {
  $("#cards").replaceChildren(...cards.map((card, place) => (
    turned.includes(place)
      ? make("li", { className: place === justTurned ? "up" : "" }, ...faceUp(card, true))
      : make("li", { className: "down" }, make("div", { className: "face" },
        make("span", { textContent: "?", ariaHidden: "true" }), make("span", { className: "spoken", textContent: `Card ${place + 1}, face down` })))
  )));
}

// The file of the visitor's picture; null when it was removed. Undefined where nobody announces it: a page without a
// server sees to it by itself.
let wanted;
document.addEventListener("game picture", ({ detail }) => { wanted = detail; });

// The bias matters as soon as there is an answer.
function offerCorrection() {
  const none = !turned.length && !$("#own-answer .said");
  $("#correction").hidden = none;
  if (none) $("#corrected").checked = false;
}

let own = null; // the value that is shown of it

function takeOwn() {
  const { value } = props, { file } = value ?? {};
  if (wanted === null ? value : wanted && file && file !== wanted) return; // it comes too late
  own = value;
  drawOwn();
}

function drawOwn() {
  if (own?.problem) $("#own-answer").replaceChildren(own.problem);
  else $("#own-answer").replaceChildren(...(own ? faceUp(own, false) : []));
  offerCorrection();
}

function score() {
  if (!turned.length) return "";
  const so = `The student ${$("#corrected").checked ? "with the correction " : ""}named ${named("student")} of ${turned.length}`;
  const control = withControl ? `, the control ${named("control")}` : "";
  if (turned.length < cards.length) return `${so}${control}. You bet ${bet} of ${cards.length}.`;
  return `${so}${control}: ${named("student") === bet ? "as you bet" : `you bet ${bet}`}.`;
}

function draw(justTurned) {
  drawCards(justTurned);
  $("#score").textContent = score();
  offerCorrection();
  const over = turned.length === cards.length;
  $("#bet fieldset").disabled = turned.length > 0;
  $("#turn").hidden = over;
  $("#turn").textContent = turned.length ? "Turn the next card" : "Turn the first card";
  $("#bet-again").hidden = $("#measured").hidden = !over;
}

function turn() {
  bet = Number(new FormData($("#bet")).get("bet") ?? bet); // a form without its disabled fields, once it is made
  const place = clicked ?? cards.findIndex((_, at) => !turned.includes(at)), card = cards[place];
  turned.push(place);
  draw(place);
  const said = networksOf(card).map((network) => {
    const { label, sure } = predictionOf(network, card);
    return `the ${network} says ${label}, ${percent(sure)}`;
  });
  $("#card-told").textContent = `Card ${place + 1} of ${cards.length}: ${said.join("; ")}. ${score()}`;
  (turned.length < cards.length ? $("#turn") : $("#bet-again")).focus({ preventScroll: true });
}

function startAgain() {
  turned = [];
  bet = null;
  $("#bet").reset();
  const wasCorrected = $("#corrected").checked;
  $("#corrected").checked = false;
  draw();
  if (wasCorrected) drawOwn();
  $("#card-told").textContent = "";
  $("#bet input").focus();
}

// When the cards are there: what does not change, and the first view.
function begin() {
  cards = props.cards;
  withControl = cards.every(({ logits }) => logits.control);
  $("#game-story").textContent = `A further student was never shown ${one}. It learnt from ${props.another_teacher ? "another teacher's" : "the teacher's"} soft targets for pictures of the ${inWords(classes.length - 1)} other classes, where ${one} is rarely more than a doubt.` +
    (withControl ? ` Its control, a student alone, ${props.alike ? "is the same network and saw the same pictures" : `was never shown ${one} either`}, but had no teacher.` : "");
  $("#bet legend").textContent = `${capital(inWords(cards.length))} ${many} lie face down. How many will the student name?`;
  $(".bets").append(...Array.from({ length: cards.length + 1 }, (_, n) => (
    make("label", {}, make("input", { type: "radio", name: "bet", value: n, required: true }), make("span", { textContent: n })))));
  const { student, control } = measured;
  $("#measured").textContent = `${capital(inWords(cards.length))} prove little. Of all test images of ${many}, the student as trained names ${rate(student.before)}; with its bias corrected, ${rate(student.after)}.` +
    (control ? ` The control, a student alone: ${rate(control.before)} and ${rate(control.after)}.` : "") + (props.caution && ` ${props.caution}`);
  $("#bias-story").textContent = `From its teacher the student learns what ${one} looks like, but also that there are none: its bias. Hinton, Vinyals and Dean (2015, section 3) corrected it too, by test images. Here ${signed(student.bias)} is added to its ${omitted} logit` +
    (control ? `, ${signed(control.bias)} to the control's` : "") +
    `: just enough that it answers "${omitted}" as often as the teacher does on validation images of the ${inWords(classes.length - 1)} other classes. This needs no picture of ${one}.`;
  $("#chosen").textContent = `The pictures were chosen by a rule, and no network was asked: ${props.chosen}.`;

  draw();
  takeOwn();
}

$("#bet").addEventListener("submit", (event) => { event.preventDefault(); turn(); });
$("#bet-again").addEventListener("click", startAgain);
$("#cards").addEventListener("click", ({ target }) => {
  const card = target.closest(".down");
  if (!card) return;
  clicked = [...card.parentNode.children].indexOf(card);
  $("#bet").requestSubmit(); // which asks for a bet first, if there is none
  clicked = null;
});
$("#corrected").addEventListener("change", () => {
  draw();
  drawOwn();
  if (turned.length) $("#card-told").textContent = score();
});
watch("value", takeOwn);
if (props.cards) begin();
else {
  watch("cards", () => props.cards && !cards.length && begin());
  // Each time it comes into sight, until they are there: an answer may have been lost.
  new IntersectionObserver((entries) => { if (entries.at(-1).isIntersecting && !cards.length) trigger("cards"); }).observe(element);
}
