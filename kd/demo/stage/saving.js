// ---- saving the chart: an SVG drawn from the present numbers, or a PNG of it ----------------------------

const PICTURE = { width: 760, row: 30, top: 98, left: 130, room: 310, numbers: [505, 615, 745], pixelRatio: 2 };

function buildSaving(stage) {
  const { $, options } = stage;

  // The chart as an SVG element, in the page's own colours and in the order on the screen.
  function drawPicture() {
    const { width, row, top, left, room, numbers } = PICTURE;
    const colours = getComputedStyle(stage.element), ink = colours.color;
    const ground = colours.getPropertyValue("--body-background-fill").trim(); // the body itself stays white in a dark page
    const rows = stage.rowsShown(), height = top + row * rows.length + 16;
    const write = (x, y, text, more = {}) => add("text", { x, y, fill: ink, ...more }, text);
    const colour = (role) => colours.getPropertyValue(`--${role}`).trim();
    const along = (p) => room * lengthOf(p, options.log);
    const frame = { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": "system-ui, sans-serif", "font-size": 13 };
    const svg = svgNode("svg", frame), add = (tag, attributes, text = "") => svg.append(svgNode(tag, attributes, text));
    add("rect", { width, height, fill: ground });
    const { example, models } = stage.value;
    write(16, 28, `Soft targets of ${example ? article(example) : "a photo"} at T = ${stage.T.toFixed(2)}` + (options.log ? ", logarithmic scale" : ""), { "font-size": 16, "font-weight": 700 });
    write(16, 52, `Answers at T = 1: ${ROLES.map((role) => `${stage.names[role].toLowerCase()} ${models[role].label}, ${percent(models[role].confidence)}`).join("; ")}`);
    ROLES.forEach((role, i) => write(numbers[i], 82, stage.names[role], { "text-anchor": "end", "font-weight": 600, fill: colour(role) }));
    rows.forEach(({ name, cells, texts }, place) => {
      const y = top + row * place, p = (role) => +cells[role].dataset.value;
      write(16, y + 16, name);
      add("rect", { x: left, y, width: room, height: row - 8, fill: ink, "fill-opacity": 0.07 });
      add("rect", { x: left, y, width: along(p("teacher")), height: row - 8, fill: colour("teacher") });
      const at = (role) => ({ cx: left + along(p(role)), cy: y + (row - 8) / 2 });
      add("circle", { ...at("student"), r: 7, fill: ground, stroke: colour("student"), "stroke-width": 3 });
      add("circle", { ...at("distilled"), r: 4.5, fill: colour("distilled"), stroke: ground });
      ROLES.forEach((role, i) => write(numbers[i], y + 16, texts[role].data, { "text-anchor": "end" }));
    });
    return svg;
  }

  const svgText = () => new XMLSerializer().serializeToString(drawPicture());

  async function pngOf(svg) {
    const picture = new Image();
    picture.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
    await picture.decode();
    const canvas = make("canvas", { width: picture.width * PICTURE.pixelRatio, height: picture.height * PICTURE.pixelRatio });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  }

  function save(blob, extension) {
    const url = URL.createObjectURL(blob);
    make("a", { href: url, download: `soft-targets-${stage.value.example ?? "photo"}-T${stage.T.toFixed(2)}.${extension}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000); // the browser reads it after the click
  }

  $("#save-svg").addEventListener("click", () => save(new Blob([svgText()], { type: "image/svg+xml" }), "svg"));
  $("#save-png").addEventListener("click", async () => {
    const svg = svgText(), png = await pngOf(svg).catch(console.warn);
    if (png) save(png, "png");
    else save(new Blob([svg], { type: "image/svg+xml" }), "svg"); // where the browser cannot draw it
  });
}
