// ---- the temperature: slider, number, ticks, and the play button that sweeps it --------------------

const SWEEP_SECONDS = 8; // from one end to the other
const STEP_SECONDS = 1.5; // from tick to tick, where motion is to be reduced
const FINE_BELOW = 4, FINE_STEP = 0.1, COARSE_STEP = 0.5; // of the arrow keys

// Where a key leads from T: to the next tenth or half, to the next tick, to an end; null for other keys.
function temperatureByKey(key, T, ticks) {
  const near = 1e-6, lowest = ticks[0], highest = ticks.at(-1);
  if (key === "Home") return lowest;
  if (key === "End") return highest;
  if (key === "PageUp") return ticks.find((t) => t > T + near) ?? highest;
  if (key === "PageDown") return ticks.findLast((t) => t < T - near) ?? lowest;
  if (key === "ArrowRight" || key === "ArrowUp") {
    const step = T < FINE_BELOW - near ? FINE_STEP : COARSE_STEP;
    return (Math.floor(T / step + near) + 1) * step;
  }
  if (key === "ArrowLeft" || key === "ArrowDown") {
    const step = T < FINE_BELOW + near ? FINE_STEP : COARSE_STEP;
    return (Math.ceil(T / step - near) - 1) * step;
  }
  return null;
}

// The play button: up to the highest temperature, down to the lowest, and so on until somebody takes over.
function buildPlay(stage, ticks) {
  const play = stage.$("#play"), lowest = ticks[0], highest = ticks.at(-1);
  const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
  let playing = null; // {up, frame, timer}

  function start() {
    playing = { up: stage.T < highest };
    play.textContent = "Pause";
    if (reducedMotion.matches) stepOn(); else playing.frame = requestAnimationFrame((now) => sweepOn(now, now));
  }

  function pause() {
    if (!playing) return;
    cancelAnimationFrame(playing.frame);
    clearTimeout(playing.timer);
    playing = null;
    play.textContent = "Play";
    stage.settleLater();
  }

  function turnAtTheEnds() {
    if (stage.T === highest) playing.up = false;
    if (stage.T === lowest) playing.up = true;
  }

  function sweepOn(before, now) {
    const way = Math.log2(highest / lowest) * Math.min(now - before, 100) / (SWEEP_SECONDS * 1000); // a late frame is no leap
    stage.setTemperature(stage.T * 2 ** (playing.up ? way : -way));
    turnAtTheEnds();
    playing.frame = requestAnimationFrame((later) => sweepOn(now, later));
  }

  function stepOn() {
    turnAtTheEnds();
    stage.setTemperature(playing.up ? ticks.find((t) => t > stage.T) : ticks.findLast((t) => t < stage.T));
    playing.timer = setTimeout(stepOn, STEP_SECONDS * 1000);
  }

  play.addEventListener("click", () => (playing ? pause() : start()));
  document.addEventListener("keydown", (event) => event.key === "Escape" && pause());
  return { pause, isPlaying: () => playing !== null };
}

function buildTemperature(stage) {
  const { $, props } = stage, { min_temperature: MIN_T, max_temperature: MAX_T, taught_at: TAUGHT_AT } = props;
  const taught = props.by_soft_targets ? TAUGHT_AT : null;
  const NAMES = new Map([[taught, ": as it teaches"], [1, taught === 1 ? ": its answer, and as it teaches" : ": its answer"]]);
  const TICKS = [...new Set([MIN_T, 1, 2, TAUGHT_AT, 8, MAX_T])].sort((a, b) => a - b);
  const { pause, isPlaying } = buildPlay(stage, TICKS);

  // The sliders' own value is log2 T, so that each doubling of T takes the same way. The others stand below.
  const sliders = [$("#temperature-slider"), $("#lower-slider"), ...stage.element.querySelectorAll("#recordings .temperature")], number = $("#temperature-number");
  const texts = [...stage.element.querySelectorAll(".temperature-text")].map((node) => node.appendChild(document.createTextNode("")));
  const placeOf = (t) => Math.log2(t / MIN_T) / Math.log2(MAX_T / MIN_T);

  function set(t, source) {
    stage.T = Math.min(MAX_T, Math.max(MIN_T, t));
    for (const slider of sliders) if (source !== slider) slider.value = Math.log2(stage.T);
    if (source !== number) number.value = stage.T.toFixed(2);
    stage.requestDraw();
    stage.settleLater();
  }

  for (const slider of sliders) {
    Object.assign(slider, { min: Math.log2(MIN_T), max: Math.ceil(Math.log2(MAX_T) * 100) / 100, step: 0.01 });
    slider.addEventListener("input", () => { pause(); set(2 ** slider.valueAsNumber, slider); });
    slider.addEventListener("keydown", (event) => {
      const to = temperatureByKey(plainKey(event), stage.T, TICKS);
      if (to === null) return;
      event.preventDefault();
      pause();
      set(to);
    });
  }
  Object.assign(number, { min: MIN_T, max: MAX_T });
  number.addEventListener("input", () => {
    pause();
    if (Number.isFinite(number.valueAsNumber)) set(number.valueAsNumber, number);
  });
  number.addEventListener("change", () => set(stage.T)); // an emptied or outlying number shows the real T again
  $("#temperature-ticks").replaceChildren(...TICKS.map((t) => {
    const words = make("span", { className: t === 1 ? "answer-words" : "", textContent: NAMES.get(t) ?? "" });
    const tick = make("button", { type: "button", tabIndex: -1 }, String(t), words);
    tick.classList.toggle("plain", !NAMES.has(t) && t !== MIN_T && t !== MAX_T);
    tick.style.setProperty("--place", placeOf(t));
    tick.addEventListener("click", () => { pause(); set(t); });
    return tick;
  }));

  stage.setTemperature = set;
  stage.pause = pause;
  stage.moving = () => isPlaying() || sliders.some((slider) => slider.matches(":active"));
  stage.views.push({
    draw() {
      for (const text of texts) text.data = stage.T.toFixed(2);
      for (const slider of sliders) slider.setAttribute("aria-valuetext", stage.T.toFixed(2));
    },
  });
}
