// ---- elements, made in one call: a tag, its properties or attributes, and what stands in it -----------------

const SVG = "http://www.w3.org/2000/svg";

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// The key that was pressed; nothing with Ctrl, Alt or Meta: those are the browser's.
const plainKey = ({ key, ctrlKey, altKey, metaKey }) => (ctrlKey || altKey || metaKey ? "" : key);

function svgNode(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
