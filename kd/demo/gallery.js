// Many images at once; Gradio calls this behind stage/elements.js, mathematics.js and tabs.js. `props.value` is null, the progress {done, total}, the predictions (gallery.py), or {problem}: a sentence.
// What is of chosen files says by `of` of which: [the first one's path, their number].
// All texts are set as text, file names above all: no markup in them is ever read as such.

const $ = (selector) => element.querySelector(selector);

// A sign where the class is known by the name of the folder.
function predictionCell(role, { label, confidence }, known) {
  const sign = known ? (label === known ? " ✓" : " ✗") : "";
  const cell = make("td", {}, make("span", { className: "label", textContent: label + sign }),
    make("span", { className: "confidence", textContent: percent(confidence) }));
  cell.dataset.model = role;
  return cell;
}

function buildRow({ name, label, file: path, picture, predictions, differ, fits_no_class, problem }, roles) {
  if (problem) {
    return make("tr", { className: "problem" }, make("td"), make("th", { scope: "row", textContent: name }),
      make("td", { colSpan: roles.length, textContent: problem }));
  }
  const open = make("button", { type: "button", className: "open", title: "Open in the first tab", textContent: name });
  open.addEventListener("click", () => { announcePhoto(path); trigger("open", { file: path }); openTab(props.stage_tab); });
  const file = make("th", { scope: "row" }, open);
  if (fits_no_class) file.append(make("span", { className: "none", textContent: "may be none of the ten" }));
  return make("tr", { className: differ ? "differs" : "agrees" }, make("td", {}, make("img", { src: picture, alt: "" })),
    file, ...roles.map((role) => predictionCell(role, predictions[role], label)));
}

function buildPredictions({ roles, rows, agreement, right, left_out }) {
  $(".left-out").textContent = left_out ? `${left_out} more ${left_out === 1 ? "file was" : "files were"} left out: fewer at once, please.` : "";
  $(".shares").replaceChildren(...Object.entries(agreement).map(([role, { same, of }]) => {
    const share = make("dd", { textContent: of ? `${rate(same / of)} (${same} of ${of})` : "no image" });
    share.dataset.agreement = role;
    return make("div", {}, make("dt", { textContent: `${roles[role]} agrees with the teacher` }), share);
  }));
  $(".shares").append(...Object.entries(right).map(([role, { right: n, of }]) => (
    make("div", {}, make("dt", { textContent: `${roles[role]}, right by folder name` }), make("dd", { textContent: `${rate(n / of)} (${n} of ${of})` })))));
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

let wanted = null; // the paths of the images that are chosen, null where none are
let former = null; // what was shown when they were chosen
document.addEventListener("images", ({ detail }) => {
  wanted = detail?.length ? detail : null;
  former = props.value;
  show();
});

// What was there before the images were chosen, or still comes of others, is not wanted.
function isWanted(value) {
  if (!wanted || !value || value === former) return false;
  const { of, rows = [] } = value;
  return (!of || (of[0] === wanted[0] && of[1] === wanted.length)) && rows.every(({ file }) => !file || wanted.includes(file));
}

function show() {
  const value = isWanted(props.value) ? props.value : null;
  element.classList.toggle("waits", Boolean(value?.total));
  element.classList.toggle("answered", Boolean(value?.rows));
  $(".failed").textContent = value?.problem ?? "";
  if (value?.total) {
    Object.assign($("progress"), { max: value.total, value: value.done });
    $("output").textContent = `${value.done} of ${value.total} images answered`;
  }
  if (value?.rows) buildPredictions(value);
  const answered = value?.rows?.filter(({ problem }) => !problem).length;
  $(".spoken").textContent = value?.rows ? `${answered} ${answered === 1 ? "image" : "images"} answered` : "";
}

// Gradio sends no folder's name: here it becomes a part of the file's, before Gradio takes the files.
document.addEventListener("change", ({ target }) => {
  if (!target.matches?.("input[type=file][webkitdirectory]")) return;
  const named = new DataTransfer();
  for (const file of target.files) {
    const path = file.webkitRelativePath.split("/").slice(-2).join("/");
    named.items.add(path ? new File([file], path, { type: file.type, lastModified: file.lastModified }) : file);
  }
  target.files = named.files;
}, true);

$("#gallery-csv").addEventListener("click", saveCsv);
show();
watch("value", show);
