// Many images at once. `props.value` is null, the progress {done, total}, or the answers (gallery.py).
// All texts are set as text, file names above all: no markup in them is ever read as such.

const $ = (selector) => element.querySelector(selector);
const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const percent = (share) => (share * 100).toFixed(1) + " %";

function answerCell(role, { label, confidence }) {
  const cell = make("td", {}, make("span", { className: "label", textContent: label }),
    make("span", { className: "confidence", textContent: percent(confidence) }));
  cell.dataset.model = role;
  return cell;
}

function buildRow({ name, picture, answers, differ, fits_no_class, problem }, roles) {
  const file = make("th", { scope: "row", textContent: name });
  if (problem) {
    return make("tr", { className: "problem" }, make("td"), file,
      make("td", { colSpan: roles.length, textContent: problem }));
  }
  if (fits_no_class) file.append(make("span", { className: "none", textContent: "may be none of the ten" }));
  return make("tr", { className: differ ? "differs" : "agrees" }, make("td", {}, make("img", { src: picture, alt: "" })),
    file, ...roles.map((role) => answerCell(role, answers[role])));
}

function buildAnswers({ roles, rows, agreement, left_out }) {
  $(".left-out").textContent = left_out ? `${left_out} more files were left out: fewer at once, please.` : "";
  $(".shares").replaceChildren(...Object.entries(agreement).map(([role, { same, of }]) => {
    const share = make("dd", { textContent: of ? `${percent(same / of)} (${same} of ${of})` : "no image" });
    share.dataset.agreement = role;
    return make("div", {}, make("dt", { textContent: `${roles[role]} agrees with the teacher` }), share);
  }));
  const heads = ["Seen", "File", ...Object.values(roles)];
  $("thead").replaceChildren(make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text }))));
  $("tbody").replaceChildren(...rows.map((row) => buildRow(row, Object.keys(roles))));
}

// The file is made here, so that nothing of it is left on the server.
function saveCsv() {
  const byteOrderMark = "\ufeff"; // without it Excel takes UTF-8 for something else
  const url = URL.createObjectURL(new Blob([byteOrderMark + props.value.csv], { type: "text/csv;charset=utf-8" }));
  make("a", { href: url, download: "three-networks.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function show() {
  const value = props.value;
  element.classList.toggle("waits", Boolean(value && value.total));
  element.classList.toggle("answered", Boolean(value && value.rows));
  if (value && value.total) {
    Object.assign($("progress"), { max: value.total, value: value.done });
    $("output").textContent = `${value.done} of ${value.total} images answered`;
  }
  if (value && value.rows) buildAnswers(value);
}

$("#gallery-csv").addEventListener("click", saveCsv);
show();
watch("value", show);
