// Networks that are asked together: fetched and run by a worker of networks.js.

const NO_WORKER = "The networks could not be started. Please check the connection and try again.";

// A worker from a blob has the policy of the page that makes it (index.html): from the address of a file it would have
// that of the file server's headers, which may be none.
function workerOf(address) {
  const script = URL.createObjectURL(new Blob([`import ${JSON.stringify(address)};`], { type: "text/javascript" }));
  setTimeout(() => URL.revokeObjectURL(script), 60_000); // when it has long been read
  return new Worker(script, { type: "module" });
}

// runtime: {parts, bytes}, and networks: {role: {parts, bytes}}, as networks.js takes them.
// groups: lists of roles; those of the first are fetched together, all others when it is there.
// changed: called without arguments whenever there is more to tell.
export function networksOf(runtime, networks, groups, changed) {
  const roles = groups.flat();
  const total = [runtime, ...Object.values(networks)].reduce((sum, { bytes }) => sum + bytes, 0);
  let worker = null, received = {}, ready = new Set(), problems = {}, all = false; // all: whether the others were asked for
  let question = null, asked = 0; // {ask, pixels, timed: {role: {logits, milliseconds}}, done}

  function tell() {
    if (question) worker?.postMessage({ ask: question.ask, pixels: question.pixels });
  }

  function load(group) {
    for (const role of group) worker.postMessage({ load: role, ...networks[role] });
  }

  function hear({ data }) {
    if (data.loading) received[data.loading] = data.received;
    if (data.ready) ready.add(data.ready);
    if (data.failed) {
      ready.delete(data.failed);
      problems[data.failed] = data.problem;
    }
    if (data.asked !== undefined && data.asked === question?.ask) {
      question.timed[data.role] = { logits: data.logits, milliseconds: data.milliseconds };
      if (roles.every((role) => role in question.timed)) end(question.timed);
    }
    if (data.ready || data.failed) {
      const [first, ...others] = groups, settled = (role) => ready.has(role) || role in problems;
      if (!all && first.every(settled)) {
        all = true;
        others.forEach(load);
      }
    }
    changed();
  }

  function end(timed) {
    question?.done(timed);
    question = null;
  }

  return {
    // Fetch the networks, or fetch and start them anew after a problem.
    start() {
      worker?.terminate();
      [received, ready, problems, all] = [{}, new Set(), {}, false];
      worker = workerOf(new URL("./networks.js", import.meta.url));
      worker.onmessage = hear;
      worker.onerror = () => {
        for (const role of roles) problems[role] ??= NO_WORKER;
        changed();
      };
      worker.postMessage({ runtime });
      load(groups[0]);
      tell();
      changed();
    },
    get started() { return worker !== null; },
    // Ask all of them, whenever they are there. Returns a promise of {role: {logits, milliseconds}}, or of null if the
    // next question comes before they are there.
    ask(pixels) {
      end(null);
      return new Promise((done) => {
        question = { ask: ++asked, pixels, timed: {}, done };
        tell();
      });
    },
    forget() { end(null); },
    get total() { return total; }, // bytes
    get received() { return Object.values(received).reduce((sum, bytes) => sum + bytes, 0); },
    get ready() { return ready.size === roles.length; },
    get problem() { return Object.values(problems)[0] ?? null; }, // a sentence
    get timed() { return question?.timed ?? null; }, // as of `ask`, for a question that waits for the rest
  };
}
