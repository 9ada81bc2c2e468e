// The live view. Gradio calls the joined scripts once, as one function, with `element` (the component's
// root), `props` (whose value holds the three networks' answers for the present image), `trigger` and
// `watch`. From then on everything happens here: dragging the temperature sends nothing to the server.

const ROLES = ["teacher", "student", "distilled"];
const STUDENTS = ["student", "distilled"];

const $ = (selector) => element.querySelector(selector);
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const percent = (p) => (p * 100).toFixed(p < 0.0995 ? 2 : 1) + " %";
const nats = (x) => x.toFixed(3) + " nats";
