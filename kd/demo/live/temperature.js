// ---- the temperature: slider, number, ticks, and the play button that sweeps it --------------------

const MIN_T = props.min_temperature, MAX_T = props.max_temperature, START_T = props.start_temperature;
const TICKS = [[MIN_T, ""], [1, "plain softmax"], [2, ""], [4, ""], [8, ""], [MAX_T, ""]];
const SWEEP_SECONDS = 8; // from one end to the other
const STEP_SECONDS = 1.5; // from tick to tick, where motion is to be reduced

// The slider's own value is log2 T, so that each doubling of T takes the same way.
const slider = $("#temperature-slider"), number = $("#temperature-number"), play = $("#play");
let T = START_T;

// where a temperature stands on the slider and on the figure's axis, 0 to 1
const placeOf = (t) => Math.log2(t / MIN_T) / Math.log2(MAX_T / MIN_T);

function buildSlider() {
  Object.assign(slider, { min: Math.log2(MIN_T), max: Math.ceil(Math.log2(MAX_T) * 100) / 100, step: 0.01 });
  Object.assign(number, { min: MIN_T, max: MAX_T });
  $("#temperature-ticks").replaceChildren(...TICKS.map(([t, text]) => {
    const tick = make("button", { type: "button", textContent: `${t}\n${text}`, tabIndex: -1 });
    tick.style.setProperty("--place", placeOf(t));
    tick.addEventListener("click", () => { pause(); setTemperature(t); });
    return tick;
  }));
}

function setTemperature(t, source) {
  T = Math.min(MAX_T, Math.max(MIN_T, t));
  if (source !== slider) slider.value = Math.log2(T);
  if (source !== number) number.value = T.toFixed(2);
  requestDraw();
  settleLater();
}

slider.addEventListener("input", () => { pause(); setTemperature(2 ** slider.valueAsNumber, slider); });
number.addEventListener("input", () => {
  pause();
  if (Number.isFinite(number.valueAsNumber)) setTemperature(number.valueAsNumber, number);
});
number.addEventListener("change", () => setTemperature(T)); // an emptied or outlying number shows the real T again

// ---- play: up to the highest temperature, down to the lowest, and so on until somebody takes over ----

let playing = null; // {up, frame, timer}
const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");

function start() {
  playing = { up: T < MAX_T };
  play.textContent = "Pause";
  if (reducedMotion.matches) stepOn(); else playing.frame = requestAnimationFrame((now) => sweepOn(now, now));
}

function pause() {
  if (!playing) return;
  cancelAnimationFrame(playing.frame);
  clearTimeout(playing.timer);
  playing = null;
  play.textContent = "Play";
  settleLater();
}

function sweepOn(before, now) {
  const way = Math.log2(MAX_T / MIN_T) * Math.min(now - before, 100) / (SWEEP_SECONDS * 1000); // a late frame is no leap
  setTemperature(T * 2 ** (playing.up ? way : -way));
  if (T === MAX_T) playing.up = false;
  if (T === MIN_T) playing.up = true;
  playing.frame = requestAnimationFrame((later) => sweepOn(now, later));
}

function stepOn() {
  const ticks = TICKS.map(([t]) => t);
  if (T === MAX_T) playing.up = false;
  if (T === MIN_T) playing.up = true;
  setTemperature(playing.up ? ticks.find((t) => t > T) : ticks.findLast((t) => t < T));
  playing.timer = setTimeout(stepOn, STEP_SECONDS * 1000);
}

play.addEventListener("click", () => (playing ? pause() : start()));
document.addEventListener("keydown", (event) => event.key === "Escape" && pause());
