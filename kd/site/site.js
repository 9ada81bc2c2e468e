// The page without a server. The stage is the one of kd/demo/stage, joined to one function; what it asks for is
// computed here, by networks in a worker. The game of the omitted class, where there is one, is own.js.

import { networksOf } from "./asking.js";
import { component } from "./component.js";
import { logSoftmax, percent } from "./mathematics.js";
import { pictureOf, readPhoto, sentenceOf } from "./photo.js";
import { CENTRE, toNetworkSize } from "./shrink.js";
import stage from "./stage.js";
import { tabsOf } from "./tabs.js";
import { warnerOf } from "./warning.js";

const PREVIEW_SIDE = 576; // pixels, as in kd/demo/pictures.py
const NETWORKS_COMING = "Loading the networks.";
const COMING = "Your photo is being answered. The students come first, the teacher needs longer on a first visit: its network is the largest.";
const MISSING = "These are the answers to your photo so far: a network is missing, as said above. The examples still work.";
const NO_CAMERA = "The camera cannot be used: there is none, or the browser does not allow it. Please choose a file.";
const CONTROL_MILLISECONDS = 3000; // to wait for the service worker, without which the page works too

const $ = (selector) => document.querySelector(selector);
const { props, runtime, networks, warner, warning, game } = JSON.parse($("#site").textContent);
const [anyExample] = props.examples, roles = Object.keys(anyExample.models);
const warns = warnerOf(warner);
const three = networksOf(runtime, networks, [["student", "distilled"], ["teacher"]], follow); // the large one last
const element = $("#stage"), input = $("#image input"), video = $("#image video");

// ---- light and dark, as the visitor's system has it ----------------------------------------------------------

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.body.classList.toggle("dark", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

// ---- the tabs, and the stage in the first of them ----------------------------------------------------------------

const tabs = tabsOf($("#tabs"), [...document.querySelectorAll("main > section")]);
const set = component(stage, element, props, (name, data) => {
  if (name === "crop") showCrop(data);
  if (name === "recordings") readRecordings().catch((error) => { console.warn(error); set("recordings", false); });
});

// The stage's value: what is shown of an image, {problem}, or null.
function show(value) {
  set("value", value);
}

async function readRecordings() {
  set("recordings", await (await fetch("recordings.json")).json());
}

// ---- photos --------------------------------------------------------------------------------------------------

const files = new Map(); // every photo of this visit, by a name of its own
let latest = { name: null, photo: null }; // the one that is decoded
let brought = 0; // a photo that comes while another one is being read overtakes it
let answering = 0; // the number of the one that is not shown yet

async function decoded(name) {
  if (latest.name !== name) latest = { name, photo: await readPhoto(files.get(name)) };
  return latest.photo;
}

// What was brought before is neither shown nor answered from here on. Returns the number of what comes now.
function overtake() {
  closeCamera();
  three.forget();
  return ++brought;
}

async function bring(file) {
  const number = answering = overtake(), name = `photo ${Date.now()} ${number}`;
  tabs.open($("#one-photo"));
  files.set(name, file);
  try {
    const photo = await decoded(name), preview = await previewOf(photo);
    if (number !== brought) return;
    $("#arriving img").src = preview;
    if (!three.started) three.start();
    if (!three.ready) show(null); // what is there meanwhile is shown in the stage's place
    const shown = ask(photo, CENTRE);
    showNetworks();
    const value = await shown;
    if (value) show({ ...value, file: name, photo: preview });
  } catch (error) {
    if (number === brought) show({ problem: sentenceOf(error) });
  }
  if (answering === number) answering = 0;
  showNetworks();
}

async function showCrop({ file, whole, across, down, side, number }) {
  const before = brought;
  try {
    const photo = await decoded(file);
    if (before !== brought || answering === brought) return; // another photo came meanwhile, or is coming
    const value = await ask(photo, whole ? null : { across, down, side });
    if (value) show({ ...value, file, photo: null, number }); // else it was overtaken
  } catch (error) {
    if (before === brought) show({ problem: sentenceOf(error), of_crop: true, keeps: true });
  }
}

// What `show` of kd/demo/page.py makes of a photo and a crop; null if another question came before the logits.
async function ask(photo, crop) {
  const networkInput = toNetworkSize(photo, crop), timed = await three.ask(networkInput.data);
  if (!timed) return null;
  const { classes, soft_weight } = anyExample;
  return {
    classes, soft_weight, crop, example: null, width: photo.width, height: photo.height,
    models: Object.fromEntries(roles.map((role) => [role, described(role, timed[role])])),
    picture: pictureOf(networkInput),
    // Around the whole photo are margins, which no photo has: whether it looks like one is asked of its middle.
    warning: warns(timed.teacher.logits, (crop ? networkInput : toNetworkSize(photo)).data) ? warning : null,
  };
}

function described(role, { logits, milliseconds }) {
  const { name, architecture, parameters, size } = anyExample.models[role];
  const probabilities = logSoftmax(logits, 1, []).map(Math.exp), confidence = Math.max(...probabilities);
  const label = anyExample.classes[probabilities.indexOf(confidence)];
  return { name, architecture, parameters, size, logits, label, confidence, milliseconds };
}

async function previewOf(photo) {
  const scale = Math.min(1, PREVIEW_SIDE / Math.max(photo.width, photo.height));
  const [width, height] = [photo.width, photo.height].map((side) => Math.max(1, Math.round(side * scale)));
  const small = await createImageBitmap(photo, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(small, 0, 0);
  small.close();
  return canvas.toDataURL("image/jpeg", 0.85);
}

// ---- ways in: a file, a drop anywhere, the clipboard, the camera -------------------------------------------------

let own = null; // the place for pictures in the game, as soon as that is there

// What is dropped or pasted goes to the game where that is open.
function bringFirst(list) {
  if (list?.length) (own && !$("#omitted-class").hidden ? own.bring : bring)(list[0]);
}

input.addEventListener("change", () => {
  if (input.files.length) bring(input.files[0]);
  input.value = ""; // so that the same file can be chosen again
});
$("#image .choose").addEventListener("click", () => input.click());
document.addEventListener("paste", ({ clipboardData }) => bringFirst(clipboardData.files));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  if (event.defaultPrevented) return; // the stage hands what is dropped on the photo to the input
  event.preventDefault();
  bringFirst(event.dataTransfer.files);
});
$("#image .remove").addEventListener("click", () => {
  overtake();
  show(null);
  $("#image .choose").focus(); // the button that had it is gone
});
// An example that is chosen overtakes a photo that waits for its logits.
document.addEventListener("click", ({ target }) => {
  if (target.closest?.("#examples button")) overtake();
});
window.addEventListener("popstate", overtake); // and so does Back

let opening = false; // a second click while the browser asks whether it may film
$("#image .camera").addEventListener("click", async () => {
  if (opening || video.srcObject) return;
  opening = true;
  const before = brought;
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
    if (before !== brought) { closeCamera(); return; } // something else was brought, or is shown, meanwhile
    await video.play();
  } catch (error) {
    console.error(error);
    closeCamera();
    show({ problem: NO_CAMERA, keeps: true });
    return;
  } finally {
    opening = false;
  }
  $("#image").classList.add("filming");
  element.classList.add("camera"); // an answer may have come while the browser asked
  $("#image .take").focus(); // the button that had it is gone
});
$("#image .take").addEventListener("click", () => {
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(bring);
});
$("#image .cancel").addEventListener("click", () => {
  closeCamera();
  $("#image .camera").focus();
});

function closeCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  $("#image").classList.remove("filming");
  element.classList.remove("camera");
}

// ---- how far the networks are, and what those that are there predict meanwhile -------------------------------------

function follow() {
  showNetworks();
  if (three.ready && !saving) keepAll();
}

function showNetworks() {
  const { ready, problem, started, timed } = three, megabytes = (bytes) => (bytes / 1e6).toFixed(0);
  const progress = $("#networks progress"), coming = started && !ready && !problem;
  progress.hidden = !coming;
  progress.value = three.received / three.total;
  $("#networks .megabytes").textContent = coming ? `${megabytes(three.received)} of ${megabytes(three.total)} MB` : "";
  $("#networks button").hidden = !problem;
  const text = problem ?? (coming ? NETWORKS_COMING : "");
  if ($("#networks [role=status]").textContent !== text) $("#networks [role=status]").textContent = text;

  $("#arriving").hidden = !timed || (ready && !problem);
  $("#arriving p").textContent = problem ? MISSING : COMING;
  const known = roles.filter((role) => timed && role in timed);
  $("#arriving ul").replaceChildren(...known.map(cardOf));
}

function cardOf(role) {
  const { name, label, confidence } = described(role, three.timed[role]);
  const card = $("#card").content.cloneNode(true).firstElementChild;
  card.classList.add(role);
  card.querySelector(".mark").classList.add(role);
  card.querySelector(".name").textContent = name;
  card.querySelector(".confidence").textContent = percent(confidence);
  card.querySelector(".label").textContent = label;
  return card;
}

$("#networks button").addEventListener("click", () => three.start());

// ---- start: the stage at once, the networks after it ---------------------------------------------------------

// The service worker keeps all that comes from here on, so that the page works without a connection next time.
async function controlled() {
  try {
    await navigator.serviceWorker.register("./service-worker.js");
    if (navigator.serviceWorker.controller) return;
    await new Promise((done) => navigator.serviceWorker.addEventListener("controllerchange", done, { once: true }));
  } catch (error) {
    console.warn(error); // none in a private window, nor where the address is not secure
  }
}

// What came before it was there is asked for again, of the browser's own memory as a rule; and what the game needs, and
// the pictures behind the map's lines, come when all else is there, to be read when they are asked for.
let kept = null;
function keepAll() {
  if (!navigator.serviceWorker?.controller) return; // nobody would keep it
  const all = [runtime, ...Object.values(networks), ...Object.values(game?.networks ?? {})];
  const parts = [...all.flatMap((each) => each.parts), ...(props.pictures ? [props.pictures] : [])];
  kept ??= (async () => { for (const part of parts) await (await fetch(part)).arrayBuffer(); })().catch(console.warn);
}

const saving = Boolean(navigator.connection?.saveData); // then networks come when they are asked for
showNetworks();
if (game) import("./own.js").then(({ gameOf }) => { own = gameOf($("#game"), game, runtime); }, console.error);
await Promise.race([controlled(), new Promise((done) => setTimeout(done, CONTROL_MILLISECONDS))]);
if (!saving && !three.started) three.start();
