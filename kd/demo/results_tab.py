"""The results tab: what was measured, read from the files that the commands wrote.

A file may be missing, damaged, of another version, or name what is gone since. Then its own table or figure is
replaced by a sentence, the log says why, and all else is shown.
"""

import hashlib
import html
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import TypeVar

import gradio as gr
from gradio.components.plot import PlotData
from plotly.graph_objects import Figure

from kd import checkpoint
from kd.colours import ROLE_COLOURS
from kd.demo.crowd import TURNS
from kd.demo.documents import document
from kd.figures import LEGEND_BELOW, styled
from kd.models import ROLE_NAMES, ROLES
from kd.results import RESULTS, present_results, results_provenance, results_table, the_test_images
from kd.studies.claims import RULE, Claim, Told, told
from kd.studies.figures import Drawing, drawings_of
from kd.studies.ledger import STUDIES_FOLDER, MeasuredStudy, read_study, study_files
from kd.studies.report import study_table

FIGURE_HEIGHT, LEGEND_HEIGHT = 160, 60  # pixels, of the figure beside a claim, and more where a legend is below it
CAPTION_HEIGHT = 36  # pixels, above it
CURVE_KEYS = ("epoch", "accuracy", "validation_accuracy")  # of a line of history.jsonl
LAID_OUT_ANEW = "() => { requestAnimationFrame(() => window.dispatchEvent(new Event('resize'))); return []; }"
NO_RESULTS = (
    "No results have been measured for these checkpoints yet: `python -m train.evaluate --checkpoints FOLDER`, with "
    "their folder, writes them."
)
_A_STUDY = (
    "`python -m train.study main --teacher FOLDER/teacher --output-dir FOLDER/studies --ship FOLDER`, with the folder "
    "of these checkpoints,"
)
NO_CLAIMS = f"No study here has been carried out that makes a claim: {_A_STUDY} does."
MORE_STUDIES = "More studies"
NO_STUDIES = f"No study has been carried out with this teacher yet: {_A_STUDY} is the first."

Made = TypeVar("Made")
_log = logging.getLogger(__name__)


def build_results(checkpoints: Path) -> None:
    """The results tab. What is in it comes when it is opened: the first picture does not wait for it."""
    results, drawing = ResultsTab(checkpoints), threading.Lock()

    def show_in_turn() -> None:
        # Of many who open it at once, one draws; whoever waits for a turn keeps nobody else from drawing, and those who
        # wait for the drawing leave turns for photos.
        with TURNS.one(large=True), drawing:
            results.show()

    with gr.Tab("Results") as tab:
        gr.render(triggers=[tab.select])(show_in_turn)


class ResultsTab:
    """All that was measured of a folder's checkpoints. What is read, computed and drawn stays until a file changes."""

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._made: dict[str, object] = {}  # by what it is: what `attempt` made
        self._content: str | None = None  # of the files when it was made

    def show(self) -> None:
        """How often the networks are right, what the studies claim, and folded below it all that was measured."""
        if self._content != (content := content_of(self.checkpoints)):
            self._made.clear()
            self._content = content
        made = self.attempt(RESULTS, lambda: results_texts(self.checkpoints))
        rates, table, how = made or (sentence(RESULTS), None, None)
        gr.Markdown(rates)
        if table:
            with folded("All measurements of the three networks, and how they were trained"):
                scrollable(table, elem_id="results")
                gr.Markdown(how)
        files = study_files(self.checkpoints / STUDIES_FOLDER)
        studies = {path: self.attempt(path.name, lambda path=path: read_study(path)) for path in files}
        read = {path.stem: study for path, study in studies.items() if study}
        shown = self.attempt("the claims", lambda: told(read)) or Told([], list(read.values()), [])
        for of_study in shown.by_study:
            self.show_claims(of_study)
        excused, missing = untold(files, read, shown)
        if missing:
            tell(missing)
        for file in excused:
            gr.Markdown(sentence(file))
        if shown.others:
            with folded(MORE_STUDIES):
                for study in shown.others:
                    self.show_details(study, study.question)
        with folded("Accuracy while training"):
            histories = {role: self.history_of(role) for role in ROLES}
            for role in ROLES:
                if histories[role]:
                    self.tell_of_earlier_training(role)
            curves = self.attempt("the training curves", lambda: plotted(training_curves(histories)))
            gr.Plot(curves, show_label=False, elem_id="training-curves")
        gr.Markdown(f"How all this was measured, and more: {document('studies.md')}.", elem_id="more-results")

    def show_claims(self, claims: list[Claim]) -> None:
        """A study's claims, each beside the figure that shows it; table and other figures folded below the first."""
        study, shown = claims[0].study, {claim.figure for claim in claims}
        drawn = self.drawings(study)
        for claim in claims:
            with gr.Row(elem_classes="claim"):
                with gr.Column(min_width=320):
                    gr.HTML(f"<p>{chip(claim)}</p>")
                    if claim is claims[0]:
                        further = [each for each in drawn if each.name not in shown]
                        self.show_details(study, "Details", further, said_first=RULE)
                with gr.Column(min_width=320):
                    for drawing in [each for each in drawn if each.name == claim.figure]:
                        self.show_figure(study, drawing, FIGURE_HEIGHT)

    def show_details(
        self, study: MeasuredStudy, title: str, drawn: list[Drawing] | None = None, said_first: str = ""
    ) -> None:
        """A study's table with the verdicts and the figures that its measurements allow, folded."""
        file = f"{study.study}.json"
        with folded(title):
            if said_first:
                gr.Markdown(said_first)
            scrollable(self.attempt(f"{file}, its table", lambda: study_table(study)) or sentence(file))
            for drawing in self.drawings(study) if drawn is None else drawn:
                gr.Markdown(f"**{drawing.title}**")
                self.show_figure(study, drawing)
            gr.Markdown(f"More in {document('studies.md')}; all numbers in {STUDIES_FOLDER}/{file}.")

    def show_figure(self, study: MeasuredStudy, drawing: Drawing, height: int | None = None) -> None:
        """A figure, or why there is none."""
        file = f"{study.study}.json"
        figure = self.attempt(f"{file}, the figure {drawing.name}", lambda: plotted(drawing.figure(study), height))
        if figure is None:
            gr.Markdown(sentence(file))
        else:
            gr.Plot(figure, show_label=False)

    def drawings(self, study: MeasuredStudy) -> list[Drawing]:
        """The figures that a study's measurements allow; where they cannot be told, the page says so."""
        drawn = self.attempt(f"{study.study}.json, its figures", lambda: drawings_of(study))
        if drawn is None:
            gr.Markdown(sentence(f"{study.study}.json"))
        return drawn or []

    def history_of(self, role: str) -> list[dict]:
        """The epochs of a run that tell their accuracies; where others do not, the page says so."""
        file = f"{role}/{checkpoint.HISTORY}"
        history = self.attempt(file, lambda: checkpoint.read_history(self.checkpoints / role))
        complete = [epoch for epoch in history or [] if all(isinstance(epoch.get(key), Real) for key in CURVE_KEYS)]
        if history is None:
            gr.Markdown(sentence(file))
        elif not history:
            tell(f"{ROLE_NAMES[role]}: no curve, as there is no `{file}`, which its training writes.")
        elif untold := len(history) - len(complete):
            tell(f"{ROLE_NAMES[role]}: {untold} of {len(history)} epochs in `{file}` do not tell how they went.")
        return complete

    def tell_of_earlier_training(self, role: str) -> None:
        """Say what came before the epochs of a network's history."""
        config = self.attempt(f"{role}/{checkpoint.CONFIG}", lambda: checkpoint.load_config(self.checkpoints / role))
        if config and (before := checkpoint.epochs_before(config)):
            gr.Markdown(f"{ROLE_NAMES[role]}: the curve shows its last run; {before} epochs came before.")

    def attempt(self, what: str, make: Callable[[], Made]) -> Made | None:
        """What `make` returned at the first call, made again where a file is another one since.

        None where a file that it reads does not allow it, which the log then explains.
        """
        if what not in self._made:
            self._made[what] = attempt(what, make)
        return self._made[what]


def attempt(what: str, make: Callable[[], Made]) -> Made | None:
    """What `make` returns; None where a file that it reads does not allow it, which the log then explains."""
    try:
        return make()
    except Exception as error:  # what a damaged file may lead to has no end; nothing of it stops the page
        _log.warning("%s cannot be shown: %r", what, error)
        return None


def untold(files: list[Path], read: Mapping[str, MeasuredStudy], shown: Told) -> tuple[list[str], str | None]:
    """The studies' files of which something cannot be shown, and what to say where there is no claim to be seen."""
    excused = [path.name for path in files if path.stem not in read] + [f"{name}.json" for name in shown.unmade]
    if not files:
        return excused, NO_STUDIES
    return excused, None if shown.by_study or excused else NO_CLAIMS


def tell(what_is_missing: str) -> None:
    """Say it on the page and in the log."""
    _log.warning(what_is_missing)
    gr.Markdown(what_is_missing)


def content_of(checkpoints: Path) -> str:
    """A digest of all files that the tab goes by."""
    digest = hashlib.sha256()
    of_networks = [checkpoints / role / name for role in ROLES for name in (checkpoint.CONFIG, checkpoint.HISTORY)]
    for path in (checkpoints / RESULTS, *study_files(checkpoints / STUDIES_FOLDER), *of_networks):
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def results_texts(checkpoints: Path) -> tuple[str, str | None, str | None]:
    """How often the networks are right, the table of all that was measured, and where it comes from; a sentence and
    nothing else where none has been measured of the networks that lie there now."""
    results = present_results(checkpoints)
    if not results:
        _log.warning(NO_RESULTS)
        return NO_RESULTS, None, None
    return how_often_right(results), results_table(results), results_provenance(results)


def how_often_right(results: dict) -> str:
    """What a visitor should know first, in a sentence."""
    name, measured = results["data"]["name"], results["models"]
    rates = [f"the {ROLE_NAMES[role].lower()} {measured[role]['accuracy']:.1%}" for role in ROLES if role in measured]
    others = "These are the page's own networks; a study's claims are of its own trainings, seed by seed."
    return f"Right on {the_test_images(name)}: {', '.join(rates)}. {others}"


def training_curves(histories: dict[str, list[dict]]) -> Figure:
    """Validation accuracy over the epochs, a line for each network; training accuracy dotted.

    Args:
        histories: by role, the epochs of its history.jsonl that have `CURVE_KEYS`.
    """
    figure = Figure()
    for role, history in histories.items():
        for key, name, dash in (("validation_accuracy", "validation", "solid"), ("accuracy", "training", "dot")):
            figure.add_scatter(
                x=[epoch["epoch"] for epoch in history],
                y=[epoch[key] for epoch in history],
                name=f"{ROLE_NAMES[role]}, {name}",
                mode="lines",
                line={"color": ROLE_COLOURS[role], "dash": dash, "width": 2},
                hovertemplate="epoch %{x}: %{y:.2%}",
            )
    return styled(
        figure,
        height=480,  # on a phone the legend below takes six lines
        xaxis={"title": "epoch"},
        yaxis={"title": "accuracy", "tickformat": ".0%"},
        legend=LEGEND_BELOW,
    )


@contextmanager
def folded(title: str) -> Iterator[None]:
    """What is to be unfolded. A figure in it was laid out while it was hidden, without knowing its width."""
    with gr.Accordion(title, open=False) as part:
        yield
    part.expand(None, None, None, js=LAID_OUT_ANEW, api_visibility="private")


def chip(claim: Claim) -> str:
    """HTML: the verdict in a frame, and the sentence after it."""
    kind = claim.verdict.name.lower().replace("_", "-")
    return f'<span class="chip {kind}">{claim.verdict}</span> {html.escape(claim.sentence)}'


def plotted(figure: Figure, height: int | None = None) -> PlotData:
    """A figure as `gr.Plot` sends it, written once and not at each opening.

    Args:
        height: pixels, without a legend below; its own where none is given.
    """
    if height:
        legend = figure.layout.legend.y
        height += LEGEND_HEIGHT if legend else 0
        # As many pixels below the axis as before, whose title it would cover.
        legend = legend and legend * figure.layout.height / height
        figure.update_layout(height=height, legend_y=legend, margin_t=CAPTION_HEIGHT)
    return PlotData(type="plotly", plot=figure.to_json())


def sentence(file: str) -> str:
    """What the page shows in place of what a file does not allow."""
    return f"*What stands in `{file}` cannot be shown here: it is damaged, or of another version of this program.*"


def scrollable(markdown: str, elem_id: str | None = None) -> gr.Markdown:
    """Tables that a phone scrolls sideways, and that take the focus, so that the keyboard can scroll them too.

    What a results file says is text: no markup in it is read as such.
    """
    focusable = f'<div tabindex="0">\n\n{html.escape(markdown, quote=False)}\n</div>'
    return gr.Markdown(focusable, sanitize_html=False, elem_id=elem_id, elem_classes="scrollable")
