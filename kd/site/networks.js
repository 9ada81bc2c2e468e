// A worker that runs exported networks (python -m train.export) in the visitor's browser, by ONNX Runtime Web.
//
// It is told
//   {runtime: {parts, bytes}}     the runtime's .wasm, compressed by gzip, and its size: first; where it is not told,
//                                 the file lies beside the runtime's scripts
//   {load: role, parts, bytes}    the model's file, whole or cut into parts, and its size
//   {ask: number, pixels}         pixels: 32 x 32 in RGB, bytes, row by row, as shrink.js returns them
// and tells
//   {loading: role, received}     bytes so far, also of "runtime"
//   {ready: role}
//   {asked: number, role, logits, milliseconds}
//   {failed: role, problem}       a sentence; the other networks go on
//
// Every network that is ready computes the latest question's logits, and one that becomes ready later does it then. A
// question that is overtaken by the next one may go without.

// What kd/site/runtime.py fetches. Addresses are of this file: the worker itself may have one that is none.
const RUNTIME = "./runtime/ort.wasm.min.js";
const MAX_THREADS = 4; // the runtime's own limit
const RUNTIME_OF_THREADS = new URL("./runtime/ort-wasm-simd-threaded.js", import.meta.url).href;
// The smallest module with an instruction of SIMD: () -> v128 that is i8x16.popcnt(i8x16.splat(0)).
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

const TOO_OLD = "This browser lacks WebAssembly SIMD or gzip streams, which the networks need. Please use a newer browser.";
const UNREACHABLE = "The network could not be fetched. Please check the connection and try again.";
const UNUSABLE = "The network could not be started: its file is damaged, or memory is short. Please try again.";
const FAILED = "The network failed to answer: memory may be short. Please close other pages and reload this one.";

class Problem extends Error {}

const networks = new Map(); // sessions by role
let compressed = null; // the runtime's .wasm: {parts, bytes}
let binary = null; // a promise of it, as it is
let latest = null; // the question: {ask, input}
let turn = Promise.resolve(); // the runtime does one thing at a time

onmessage = ({ data }) => {
  if (data.runtime) compressed = data.runtime;
  else if (data.load) load(data);
  else {
    latest = { ask: data.ask, input: asInput(data.pixels) };
    for (const role of networks.keys()) compute(role);
  }
};

// Float32, (1, 3, 32, 32), 0 to 1.
function asInput(pixels) {
  const area = pixels.length / 3, input = new Float32Array(pixels.length);
  for (let at = 0; at < area; at++) {
    for (let channel = 0; channel < 3; channel++) input[channel * area + at] = pixels[at * 3 + channel] / 255;
  }
  return input;
}

function tellProblem(role, problem, error) {
  console.error(error);
  postMessage({ failed: role, problem: error instanceof Problem ? error.message : problem });
}

function inTurn(role, problem, task) {
  turn = turn.then(task).catch((error) => tellProblem(role, problem, error));
}

async function load({ load: role, parts, bytes }) {
  try {
    const newEnough = WebAssembly.validate(Uint8Array.from(SIMD)) && "DecompressionStream" in globalThis;
    if (!newEnough) throw new Problem(TOO_OLD);
    if (compressed) binary ??= fetchAll("runtime", compressed.parts, compressed.bytes).then(unzip);
    const [model] = await Promise.all([fetchAll(role, parts, bytes), binary]); // while others compute
    inTurn(role, UNUSABLE, async () => {
      const { InferenceSession } = await runtime();
      networks.set(role, await InferenceSession.create(model, { executionProviders: ["wasm"] }));
      postMessage({ ready: role });
      if (latest) compute(role);
    });
  } catch (error) {
    tellProblem(role, UNUSABLE, error);
  }
}

async function runtime() {
  try {
    const runtime = await import(RUNTIME);
    runtime.env.wasm.wasmPaths = { mjs: RUNTIME_OF_THREADS, wasm: RUNTIME_OF_THREADS.replace(/js$/, "wasm") };
    if (binary) runtime.env.wasm.wasmBinary = await binary;
    // By itself it takes half of the cores, as if each were two threads of one.
    if (self.crossOriginIsolated) runtime.env.wasm.numThreads = Math.min(MAX_THREADS, navigator.hardwareConcurrency || 1);
    return runtime;
  } catch {
    throw new Problem(UNREACHABLE);
  }
}

function unzip(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function fetchAll(role, parts, bytes) {
  const model = new Uint8Array(bytes);
  let received = 0;
  try {
    for (const part of parts) {
      const response = await fetch(new URL(part, import.meta.url));
      if (!response.ok) throw new Error(`${part}: ${response.status}`);
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        model.set(value, received); // fails if there is more than was announced
        received += value.length;
        postMessage({ loading: role, received });
      }
    }
    if (received !== bytes) throw new Error(`${received} of ${bytes} bytes`);
  } catch (error) {
    console.error(error);
    throw new Problem(UNREACHABLE);
  }
  return model;
}

function compute(role) {
  const question = latest;
  inTurn(role, FAILED, async () => {
    if (question !== latest) return;
    const { Tensor } = await runtime(), started = performance.now();
    const images = new Tensor("float32", question.input, [1, 3, 32, 32]);
    const { logits } = await networks.get(role).run({ images });
    const milliseconds = performance.now() - started;
    postMessage({ asked: question.ask, role, logits: Array.from(logits.data), milliseconds });
  });
}
