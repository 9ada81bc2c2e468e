"""The page without a server, written to a folder: `python -m train.export --site DIR`.

The stage and the game are the Gradio page's own components, taken apart again; around them stand this folder's files,
and the networks as ONNX, cut into parts under 10 MB, so that a connection that breaks loses little.
"""

import gzip
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from html import escape
from pathlib import Path

import gradio as gr
import torch
from markdown_it import MarkdownIt

from kd import checkpoint, export
from kd.checkpoint import MAX_SHARD_BYTES
from kd.cifar10 import IMAGE_SIZE, NAME
from kd.colours import stylesheet
from kd.demo.examples import RECORDED, read_examples
from kd.demo.omitted_class import TAB, OmittedClass, cards_of, game_view, read_game
from kd.demo.page import HERE as PAGE_FOLDER
from kd.demo.page import STAGE_TAB, TITLE, stage_of
from kd.demo.results_tab import MORE_STUDIES, NO_RESULTS, attempt, chip, how_often_right, sentence, untold
from kd.demo.stage_view import later_script, script, warning
from kd.export import ExportError
from kd.files import write_atomically
from kd.inference import TrainedNetwork, Trio, pixels_of
from kd.models import ROLES, first_layer
from kd.out_of_class import FLOOR, floats_as_text
from kd.results import RESULTS, present_results, results_table, training_sentences
from kd.site.runtime import FILES, fetch_runtime
from kd.studies.claims import RULE, Claim, Told, told
from kd.studies.figures import Drawing, drawings_of
from kd.studies.ledger import FIGURES_FOLDER, STUDIES_FOLDER, MeasuredStudy, read_studies, study_files
from kd.studies.omitted_class import CONTROL_FOLDER, FOLDER
from kd.studies.report import study_table

HERE = Path(__file__).parent
PAGE, GAME, SERVICE_WORKER, RECORDINGS = "index.html", "game.html", "service-worker.js", "recordings.json"
README = "README.md"
NETWORKS, RUNTIME, FIGURES = "networks", "runtime", "figures"  # folders; all of these are written anew each time
OWN = "const FILES = "  # what the service worker begins with, by which a folder of this command is known
SCRIPTS_OF_RUNTIME, WEB_ASSEMBLY = list(FILES.values())[:-1], list(FILES.values())[-1]  # the last is large
MAX_APART = 0.05  # of any logit of the examples between a network and its export


def write_site(checkpoints: str | Path, folder: Path) -> Iterator[str]:
    """Write the page, and say after each step what was done.

    Args:
        checkpoints: of the three networks, with their results.
        folder: an empty one, or one that this function wrote.

    Raises:
        CheckpointError: a checkpoint or a result is missing or damaged.
        ExportError: the folder holds other files; a package is missing; or an exported network computes other logits.
        RuntimeFetchError: the runtime cannot be had.
        OSError: the folder cannot be written to.
    """
    check_room(folder)
    trio = Trio(checkpoints)
    if trio.image_size != IMAGE_SIZE:
        raise ExportError(
            f"the page without a server shrinks photos to {IMAGE_SIZE} x {IMAGE_SIZE}, not {trio.image_size}: serve it "
            f"by python app.py, or train with --image-size {IMAGE_SIZE}"
        )
    omitted, no_game = read_game(trio.folder)
    if no_game:
        yield no_game
    stage, recorded = stage_of(trio, omitted)
    game = game_view(omitted, cards_of(omitted, omitted.pictures)) if omitted else None
    in_game = game_checkpoints(omitted, trio.folder) if omitted else {}
    with tempfile.TemporaryDirectory() as place:
        fetch_runtime(Path(place))
        models = {}
        for checkpoint_folder in (*(trio.folder / role for role in ROLES), *in_game.values()):
            models[checkpoint_folder], apart = exported(checkpoint_folder)
            yield f"{checkpoint_folder}: as ONNX, logits of the examples within {apart:.3f} of PyTorch's"
        make_room(folder)  # when all else is there: until now a page that lies there is whole
        (folder / RUNTIME).mkdir(parents=True)
        for name in SCRIPTS_OF_RUNTIME:
            shutil.copyfile(Path(place) / name, folder / RUNTIME / name)
        web_assembly = (Path(place) / WEB_ASSEMBLY).read_bytes()
    # A quarter of its size, and no matter whether the file server compresses.
    compressed = store(gzip.compress(web_assembly, mtime=0), RUNTIME, folder)
    yield f"{folder / RUNTIME}: ONNX Runtime Web, {compressed['bytes'] / 1e6:.1f} MB"

    pictures = None
    if recorded.pictures:  # by its content's checksum, so that a browser keeps it, once it has asked for it
        pictures = f"{FIGURES}/recorded-{hashlib.sha256(RECORDED.read_bytes()).hexdigest()[:12]}.png"
        (folder / FIGURES).mkdir(exist_ok=True)
        shutil.copyfile(RECORDED, folder / pictures)
    write(folder / RECORDINGS, json.dumps(recorded.views, separators=(",", ":")))
    of_game = {name: store(models[each], each.name, folder) for name, each in in_game.items()}
    data = {
        "runtime": compressed,
        "networks": {role: store(models[trio.folder / role], role, folder) for role in ROLES},
        "props": write_component(folder, "stage", stage, later_script()) | {"pictures": pictures},
        "warner": browser_warner(trio) if trio.warner else None,
        "warning": warning(trio.out_of_class) if trio.warner else None,
        "game": {"props": write_component(folder, "game", game), "networks": of_game} if game else None,
    }
    tab = game_section(game) if game else no_game_section(no_game) if no_game else ""
    trained = training_sentences(trio.configs, trio.another_teacher)
    write_page(folder, stage, tab, data, results_html(trio.folder, folder), trained)
    write(folder / README, filled(README, {"source": source_of(trio.configs["teacher"]["data"]["name"])}))
    stored = [compressed, *data["networks"].values(), *of_game.values()]
    kept = [part for each in stored for part in each["parts"]] + ([pictures] if pictures else [])
    size = write_service_worker(folder, kept)
    yield f"{folder}: {size / 1e6:.1f} MB; any file server serves it: python -m http.server --directory {folder}"


def write_service_worker(folder: Path, kept: list[str]) -> int:
    """Write, last of all, what keeps the page in the browser, with the names of all files; returns their bytes.

    Args:
        kept: those whose name tells their content, which are fetched when they are asked for.
    """
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]  # of git
    files = ["./", *(name for name in names if name not in (*kept, SERVICE_WORKER, README))]
    lists = f"{OWN}{json.dumps(files)};\nconst KEPT = {json.dumps(kept)};\n\n"
    write(folder / SERVICE_WORKER, lists + (HERE / SERVICE_WORKER).read_text("utf-8"))
    return sum((folder / name).stat().st_size for name in names)


def check_room(folder: Path) -> None:
    """Raise ExportError if a folder holds what this module did not write."""
    others = [path for path in folder.glob("*") if not path.name.startswith(".")]
    worker = folder / SERVICE_WORKER  # which many a web site has; empty after an interruption
    if others and not (worker.is_file() and worker.read_bytes()[: len(OWN)] in (b"", OWN.encode())):
        raise ExportError(f"{folder} holds other files: name a folder that is empty, or one that --site wrote")


def make_room(folder: Path) -> None:
    """Make the folder, without what an earlier call, or version of the page, has put there and this one may not."""
    for below in (NETWORKS, RUNTIME, FIGURES):
        shutil.rmtree(folder / below, ignore_errors=True)
    for path in (*folder.glob("*.js"), *folder.glob("*.css")):
        if path.name != SERVICE_WORKER:
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / SERVICE_WORKER, "")  # by which the folder is known, if this is interrupted


def store(content: bytes, name: str, folder: Path) -> dict:
    """Write a large file in parts; a part is named by its content, so that a browser need not ask for it again.

    Returns:
        {"parts": addresses relative to the folder, "bytes": of all}, as networks.js takes it.
    """
    parts = []
    for start in range(0, len(content), MAX_SHARD_BYTES):
        part = content[start : start + MAX_SHARD_BYTES]
        parts.append(f"{NETWORKS}/{name}-{len(parts) + 1}-{hashlib.sha256(part).hexdigest()[:12]}.bin")
        write_atomically(folder / parts[-1], lambda path, part=part: path.write_bytes(part))
    return {"parts": parts, "bytes": len(content)}


def game_checkpoints(omitted: OmittedClass, checkpoints: Path) -> dict[str, Path]:
    """Where the game's networks lie, by the names under which it has their logits."""
    folders = {"student": FOLDER, "control": CONTROL_FOLDER}
    return {name: checkpoints / folders[name] for name in omitted.networks}


@torch.inference_mode()
def exported(checkpoint_folder: Path) -> tuple[bytes, float]:
    """A network as ONNX with its weights in half precision, and how far its logits of the examples are from PyTorch's.

    Raises:
        ExportError: they are too far.
    """
    classifier = TrainedNetwork(*checkpoint.load(checkpoint_folder))  # the page's own have their norms fused
    content = export.with_float16_weights(export.to_onnx(classifier), classifier).SerializeToString()
    examples = read_examples(checkpoint_folder.parent, classifier.config["classes"])
    images = pixels_of([picture for _, picture in examples])
    apart = (export.onnx_network(content)(images) - classifier(images)).abs().max().item()
    if not apart <= MAX_APART:  # true for NaN as well
        raise ExportError(f"{checkpoint_folder} cannot be exported in half precision: logits change by {apart:.2g}")
    return content, apart


def browser_warner(trio: Trio) -> dict:
    """What warning.js needs: thresholds, what contrasts are compared with, and the teacher's first layer."""
    teacher = trio.networks["teacher"]
    convolution, _ = first_layer(teacher.network)  # with its norm inside
    normalisation = checkpoint.normalisation_of(teacher.config)
    return trio.warner.to_json() | {
        "floor": FLOOR, "mean": normalisation.mean, "std": normalisation.std, "side": convolution.kernel_size[0],
        "stride": convolution.stride[0], "padding": convolution.padding[0],
        "filters": floats_as_text(convolution.weight.detach().contiguous()),
        "biases": floats_as_text(convolution.bias.detach()),
    }  # fmt: skip


def write_component(folder: Path, name: str, component: gr.HTML, later: str = "") -> dict:
    """Write a component's script, with what would come later, and its rules; returns its props, without a value."""
    # As Gradio calls the script and confines the rules.
    script = f"export default function (element, trigger, props, watch) {{\n{component.js_on_load}{later}\n}}\n"
    write(folder / f"{name}.js", script)
    write(folder / f"{name}.css", f"#{name} {{\n{component.css_template}\n}}\n")
    return component.props | {"value": None}


def write_page(folder: Path, stage: gr.HTML, game: str, data: dict, results: str, trained: str) -> None:
    """Write the page's own files: all but what is large."""
    above, below = stage.html_template.split("@children")
    # No text of the JSON may end the element that holds it.
    page = filled(
        PAGE,
        {
            "title": TITLE, "stage tab": STAGE_TAB, "stage: above": above, "stage: below": below,
            "game": game, "results": results,
            "footer": markdown().render("How these networks were trained. " + trained),
            "site": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        },
    )  # fmt: skip
    write(folder / PAGE, page)
    for path in HERE.glob("*.js"):
        if path.name != SERVICE_WORKER:  # which comes last, and knows what there is
            write(folder / path.name, path.read_text("utf-8"))
    write(folder / "mathematics.js", script("mathematics") + "export { logSoftmax, percent };\n")  # as the stage's
    write(folder / "site.css", stylesheet() + (HERE / "site.css").read_text("utf-8"))
    write(folder / "claims.css", (PAGE_FOLDER / "claims.css").read_text("utf-8"))


def source_of(data: str) -> str:
    """Where the examples and the pictures of the game come from, in a sentence."""
    if data == NAME:
        return (
            "They are CIFAR-10's (A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009), whose "
            "authors state no licence."
        )
    return f"They are pictures of {data}, which the networks were trained for."


def game_section(game: gr.HTML) -> str:
    """The tab of the game, with a place for pictures of one's own."""
    above, below = game.html_template.split("@children")
    return filled(GAME, {"game tab": TAB, "game: above": above, "game: below": below})


def no_game_section(reason: str) -> str:
    """The same tab, where there is no game."""
    return f'<section id="omitted-class" aria-label="{escape(TAB)}" hidden><p>{escape(reason)}</p></section>'


def filled(template: str, texts: dict[str, str]) -> str:
    """A file of this folder with each marker, `<!-- name -->`, replaced by its text."""
    html = (HERE / template).read_text("utf-8")
    for marker, text in texts.items():
        before, after = html.split(f"<!-- {marker} -->")
        html = before + text + after
    return html


def results_html(checkpoints: Path, folder: Path) -> str:
    """The results and what the studies claim as HTML, in the order of the results tab; their figures go to the folder.

    What of the figures only Plotly draws, the curves of the training, is left out.
    """

    def image_of(study: MeasuredStudy, drawing: Drawing) -> str:
        """A figure that is drawn already, as `python -m tests.draw_figures` leaves it; nothing where it is not."""
        drawn = checkpoints / STUDIES_FOLDER / FIGURES_FOLDER / f"{study.study}-{drawing.name}.svg"
        if not drawn.is_file():
            return ""
        svg = drawn.read_text("utf-8")
        write(folder / FIGURES / drawn.name, svg)
        size = " ".join(re.findall(r'(?:width|height)="\d+"', svg)[:2])  # so that the page keeps room for it
        return f'<img src="{FIGURES}/{drawn.name}" alt="{escape(drawing.title)}" {size} loading="lazy">'

    def details(study: MeasuredStudy, title: str, drawings: list[Drawing], said_first: str = "") -> str:
        """A study's table and further figures, folded."""
        figures = "\n".join(image_of(study, drawing) for drawing in drawings)
        table = scrollable(markdown().render(study_table(study)))
        first = f"<p>{escape(said_first)}</p>\n" if said_first else ""
        return f"<details><summary>{escape(title)}</summary>\n{first}{table}\n{figures}</details>"

    def networks() -> str:
        results = present_results(checkpoints)
        if results is None:
            return f"<h2>Results</h2>\n{markdown().render(NO_RESULTS)}"
        table = scrollable(markdown().render(results_table(results)))
        summary = "<summary>All measurements of the three networks</summary>"
        rates = f"<p>{escape(how_often_right(results))}</p>"
        return f"<h2>Results</h2>\n{rates}\n<details>{summary}\n{table}</details>"

    def of_claims(claims: list[Claim]) -> str:
        study, figures = claims[0].study, {drawing.name: drawing for drawing in drawings_of(claims[0].study)}
        beside = [figures.pop(claim.figure, None) for claim in claims]
        paragraphs = [
            f"<p>{chip(claim)}</p>" + (f"\n{image_of(study, drawing)}" if drawing else "")
            for claim, drawing in zip(claims, beside, strict=True)
        ]
        return "\n".join([*paragraphs, details(study, "Details", list(figures.values()), RULE)])

    def of_study(study: MeasuredStudy) -> str:
        return details(study, study.question, drawings_of(study))

    studies = read_studies(checkpoints)
    shown = attempt("the claims", lambda: told(studies)) or Told([], list(studies.values()), [])
    makers = {RESULTS: networks}
    makers |= {f"{claims[0].study.study}.json": partial(of_claims, claims) for claims in shown.by_study}
    makers |= {f"{study.study}.json": partial(of_study, study) for study in shown.others}
    made = {file: attempt(file, make) or markdown().render(sentence(file)) for file, make in makers.items()}
    others = [made.pop(f"{study.study}.json") for study in shown.others]
    excused, missing = untold(study_files(checkpoints / STUDIES_FOLDER), studies, shown)
    parts = [*made.values(), *(markdown().render(text) for text in (missing, *map(sentence, excused)) if text)]
    if others:
        parts.append("\n".join([f"<details><summary>{MORE_STUDIES}</summary>", *others, "</details>"]))
    return "\n".join(parts)


def markdown() -> MarkdownIt:
    """Renders Markdown; what a results file says is text, and no markup in it is read as such."""
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def scrollable(html: str) -> str:
    """HTML whose tables a phone scrolls sideways, by keyboard too."""
    return html.replace("<table>", '<div class="scrollable" tabindex="0"><table>').replace("</table>", "</table></div>")


def write(path: Path, text: str) -> None:
    write_atomically(path, lambda place: place.write_text(text, "utf-8"))
