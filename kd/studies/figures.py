"""The Plotly figures of the studies: accuracy with its spread, calibration, agreement, accuracy against work."""

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import plotly.graph_objects as go

from kd import cifar10
from kd.colours import ROLE_COLOURS
from kd.figures import GRID, LEGEND_BELOW, MARGINS, PALETTE, styled
from kd.models import ROLE_NAMES
from kd.studies.declared import METRIC_OF
from kd.studies.findings import accuracy_by_epochs, trials
from kd.studies.ledger import MeasuredArm, MeasuredStudy
from kd.studies.omitted_class import OmittedClassRun, runs_of
from kd.studies.report import COLUMNS, in_short
from kd.studies.words import arm_name, images_and_teacher, way_of_teaching


class PublishedNetwork(NamedTuple):
    """What others report for a network trained on CIFAR-10 from scratch.

    Attributes:
        accuracy: on the test images, 0 to 1.
        macs: multiply-accumulates of one image.
        training: how it was trained.
        source: where that is reported.
    """

    name: str
    accuracy: float
    macs: int
    training: str
    source: str


PUBLISHED = (
    PublishedNetwork(
        "ResNet-50, CIFAR stem", 0.9541, 1_298_000_000, "200 epochs, 3 seeds", "umutonuryasar/kd-capacity-gap"
    ),
    PublishedNetwork(
        "ResNet-50, ImageNet stem", 0.9016, 83_400_000, "200 epochs, one seed", "umutonuryasar/kd-capacity-gap"
    ),
    PublishedNetwork("MobileNetV2, CIFAR stem", 0.9379, 88_000_000, "200 epochs", "chenyaofo/pytorch-cifar-models"),
)


class Drawing(NamedTuple):
    """A figure that a study's measurements allow: its name in files, its heading on the page, and what draws it."""

    name: str
    title: str
    draw: Callable[[MeasuredStudy], go.Figure]

    def figure(self, study: MeasuredStudy) -> go.Figure:
        """The figure, with a line that says how the study's networks were trained."""
        return captioned(rounded(self.draw(study)), study)


def drawings_of(study: MeasuredStudy) -> list[Drawing]:
    """The figures that a study's measurements allow."""
    if runs_of(study):
        return [Drawing("recognised", "The omitted class, recognised", omitted_class_recognised)]
    if study.human_labels:
        doubt = Drawing("doubt", "Distance from people's doubts", doubt_over_temperature)
        inherited = Drawing("inherited", "How well a student's doubts follow its teacher's", doubts_inherited)
        return [inherited, doubt] if study.human_labels.get("inherited") else [doubt]
    if accuracy_by_epochs(study):
        return [Drawing("accuracy", "Accuracy over the epochs of the schedule", accuracy_over_epochs)]
    if any(arm.label_fraction < 1 for arm in study.arms):
        return [
            Drawing("accuracy", "Accuracy over the labels that are known", partial(over_labels, metric="accuracy")),
            Drawing(
                "calibration", "Calibration error over the labels that are known", partial(over_labels, metric="ece")
            ),
        ]
    if selected := trials(study):
        return [
            Drawing(
                field.replace("_", "-"),
                f"Validation accuracy over the {field.replace('_', ' ')}",
                partial(validation_accuracy_over, field=field),
            )
            for field in selected
        ]
    every_seed = "every seed, mean and standard deviation"
    accuracy = partial(metric_of_arms, metric=METRIC_OF[study.measured_on])
    drawings = [Drawing("accuracy", f"Accuracy: {every_seed}", accuracy)]
    if study.measured_on == "validation":
        return drawings
    drawings += [
        Drawing("calibration-error", f"Calibration error: {every_seed}", partial(metric_of_arms, metric="ece")),
        Drawing("calibration", "Calibration: accuracy at each degree of certainty", reliability_diagram),
        Drawing("agreement", "Agreement with the teacher", agreement_with_teacher),
    ]
    if _one_arm_a_role(study):  # else many arms would share a point's place
        drawings.append(Drawing("work", "Accuracy against multiply-accumulates", accuracy_against_work))
    return drawings


def metric_of_arms(study: MeasuredStudy, metric: str) -> go.Figure:
    """A row an arm: each run's value as a dot, the mean with its standard deviation as a diamond with a bar."""
    figure = go.Figure()
    for arm in study.carried_out:
        colour, spread = ROLE_COLOURS[arm.role], arm.mean[metric]
        figure.add_scatter(
            x=[run[metric] for run in arm.runs],
            y=[_in_two_lines(arm)] * len(arm.runs),
            mode="markers",
            marker={"color": colour, "size": 9, "opacity": 0.45},
            customdata=[run["seed"] for run in arm.runs],
            hovertemplate="seed %{customdata}: %{x:.2%}<extra></extra>",
        )
        figure.add_scatter(
            x=[spread["mean"]],
            y=[_in_two_lines(arm)],
            mode="markers",
            marker={"color": colour, "size": 13, "symbol": "diamond"},
            error_x={"type": "data", "array": [spread["sd"] or 0], "color": colour, "thickness": 2},
            hovertemplate=f"mean of {spread['n']}: %{{x:.2%}}<extra></extra>",
        )
    return styled(
        figure,
        xaxis={"title": COLUMNS[metric][0], "tickformat": ".1%"},
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
        height=110 + 50 * len(study.carried_out),
    )


def reliability_diagram(study: MeasuredStudy) -> go.Figure:
    """Accuracy over confidence, an interval a point, pooled over an arm's seeds; on the diagonal it is calibrated."""
    figure = go.Figure(
        go.Scatter(
            x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"color": GRID, "dash": "dash"}, hoverinfo="skip"
        )
    )
    for colour, arm in zip(_colours(study), study.carried_out, strict=True):
        intervals = [
            [sum(values) for values in zip(*(run["reliability"][key] for run in arm.runs), strict=True)]
            for key in ("images", "confidence", "right")
        ]
        points = [(sure / n, right / n, n) for n, sure, right in zip(*intervals, strict=True) if n]
        figure.add_scatter(
            x=[sure for sure, _, _ in points],
            y=[right for _, right, _ in points],
            name=f"{_in_two_lines(arm)}, calibration error {arm.mean['ece']['mean']:.2%}",
            mode="lines+markers",
            line={"color": colour, "width": 2},
            customdata=[n for _, _, n in points],
            hovertemplate="%{x:.1%} sure, %{y:.1%} right, %{customdata:,} images",
        )
    return styled(
        figure,
        height=440 + 20 * len(study.carried_out),  # the legend below takes a line an arm
        xaxis={"title": "mean confidence", "tickformat": ".0%", "range": [0, 1]},
        yaxis={"title": "accuracy", "tickformat": ".0%", "range": [0, 1]},
        legend=LEGEND_BELOW,
    )


def agreement_with_teacher(study: MeasuredStudy) -> go.Figure:
    """The share of test images on which an arm predicts its teacher's class, with the standard deviation over seeds."""
    arms = [arm for arm in study.carried_out if "agreement" in arm.mean]
    spreads = [arm.mean["agreement"] for arm in arms]
    figure = go.Figure(
        go.Bar(
            x=[spread["mean"] for spread in spreads],
            y=[_in_two_lines(arm) for arm in arms],
            orientation="h",
            marker={"color": [ROLE_COLOURS[arm.role] for arm in arms]},
            error_x={"type": "data", "array": [spread["sd"] or 0 for spread in spreads], "color": "gray"},
            hovertemplate="%{x:.2%}<extra></extra>",
        )
    )
    return styled(
        figure,
        xaxis={"title": "agrees with its teacher", "tickformat": ".0%", "range": [0, 1]},
        yaxis={"autorange": "reversed", "automargin": True},
        height=110 + 50 * len(arms),
    )


def accuracy_against_work(study: MeasuredStudy) -> go.Figure:
    """Accuracy over multiply-accumulates: this study's arms, and of CIFAR-10 networks that others have published."""
    figure = go.Figure()
    for colour, arm in zip(_colours(study), study.carried_out, strict=True):
        figure.add_scatter(
            x=[arm.macs / 1e6],
            y=[arm.mean["accuracy"]["mean"]],
            name=_named(arm),
            mode="markers",
            marker={"color": colour, "size": 12},
            hovertemplate="%{x:.1f} million multiply-accumulates: %{y:.2%}",
        )
    if study.data["name"] == cifar10.NAME:
        figure.add_scatter(
            x=[network.macs / 1e6 for network in PUBLISHED],
            y=[network.accuracy for network in PUBLISHED],
            name="published by others",
            mode="markers",
            marker={"color": "gray", "size": 10, "symbol": "x"},
            customdata=[f"{network.name}, {network.training} ({network.source})" for network in PUBLISHED],
            hovertemplate="%{customdata}: %{y:.2%}<extra></extra>",
        )
    return styled(
        figure,
        xaxis={"title": "multiply-accumulates of one image, millions", "type": "log"},
        yaxis={"title": "test accuracy", "tickformat": ".0%"},
        legend=LEGEND_BELOW,
    )


def doubt_over_temperature(study: MeasuredStudy) -> go.Figure:
    """Kullback-Leibler divergence from people's distribution to each arm's, over the temperature of its softmax."""
    found, figure = study.human_labels, go.Figure()
    for colour, arm in zip(_colours(study), found["arms"], strict=True):
        figure.add_scatter(
            x=found["temperatures"],
            y=arm["kl"],
            name=_named(study.arms[arm["arm"]]),
            mode="lines",
            line={"color": colour, "width": 2},
            hovertemplate="T = %{x:.2f}: %{y:.3f} nats",
        )
    return styled(
        figure,
        xaxis={"title": "temperature T", "type": "log", "tickvals": [0.25, 0.5, 1, 2, 4, 8, 16]},
        yaxis={"title": "KL from people, nats", "rangemode": "tozero"},
        legend=LEGEND_BELOW,
    )


def doubts_inherited(study: MeasuredStudy) -> go.Figure:
    """A dot a seed: the rank correlation of a student's entropies with its teacher's, on images that all have right."""
    inherited, figure = study.human_labels["inherited"], go.Figure()
    for role, values in inherited["rank_correlation"].items():
        figure.add_scatter(
            x=values,
            y=[ROLE_NAMES[role]] * len(values),
            mode="markers",
            marker={"color": ROLE_COLOURS[role], "size": 11, "opacity": 0.7},
            customdata=inherited["seeds"],
            hovertemplate="seed %{customdata}: %{x:.3f}<extra></extra>",
        )
    return styled(
        figure,
        xaxis={"title": "rank correlation with the teacher's entropy", "range": [0, 1]},
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
        height=220,
    )


def accuracy_over_epochs(study: MeasuredStudy) -> go.Figure:
    """Test accuracy of both students over the epochs of their schedules: mean and standard deviation over the seeds."""
    # Both lines rise: above the end of the upper one and below the beginning of the lower one there is room for words.
    named = {"student": (0, "bottom right"), "distilled": (-1, "top left")}
    figure, measured = go.Figure(), accuracy_by_epochs(study)
    for role, schedules in measured.items():
        epochs = sorted(schedules)
        values = [list(schedules[each].values()) for each in epochs]
        at, side = named[role]
        figure.add_scatter(
            x=epochs,
            y=[statistics.fmean(each) for each in values],
            error_y={"array": [statistics.stdev(each) if len(each) > 1 else 0 for each in values]},
            mode="lines+markers+text",
            name=ROLE_NAMES[role],
            text=[ROLE_NAMES[role] if each == epochs[at] else "" for each in epochs],
            textposition=side,
            textfont={"color": ROLE_COLOURS[role]},
            cliponaxis=False,
            line={"color": ROLE_COLOURS[role]},
            hovertemplate="%{x} epochs: %{y:.2%}<extra>%{fullData.name}</extra>",
        )
    ticks = sorted({epochs for schedules in measured.values() for epochs in schedules})
    accuracies = [
        each for schedules in measured.values() for by_seed in schedules.values() for each in by_seed.values()
    ]
    low, high = min(accuracies), max(accuracies)
    room = (high - low) / 3
    yaxis = {"title": "test accuracy", "tickformat": ".0%", "range": [low - room, high + room]}
    xaxis = {"title": "epochs of the schedule", "type": "log", "tickvals": ticks, "ticktext": [str(t) for t in ticks]}
    return styled(figure, xaxis, yaxis, showlegend=False)


def over_labels(study: MeasuredStudy, metric: str) -> go.Figure:
    """A metric over the share of labels, with the standard deviation over the seeds: a line a way of teaching, in its
    role's colour, dotted where a student is shown labelled images alone, with open marks for a starved teacher."""
    lines: dict[str, list[MeasuredArm]] = {}
    for arm in study.carried_out:
        way = images_and_teacher(arm) if arm.role == "distilled" else way_of_teaching(arm)
        lines.setdefault(way, []).append(arm)
    figure = go.Figure()
    for way, arms in lines.items():
        points = [(arm.label_fraction, arm.mean[metric]) for arm in arms]
        fewest = min(arms, key=lambda arm: arm.label_fraction)
        teacher = fewest.teacher if fewest.role == "distilled" else fewest if fewest.role == "teacher" else None
        labelled_alone = fewest.role == "distilled" and fewest.label_fraction < 1 and not fewest.keep_unlabelled
        figure.add_scatter(
            x=[share for share, _ in points],
            y=[spread["mean"] for _, spread in points],
            error_y={"type": "data", "array": [spread["sd"] or 0 for _, spread in points]},
            name=way,
            mode="lines+markers",
            line={"color": ROLE_COLOURS[fewest.role], "width": 2, "dash": "dot" if labelled_alone else "solid"},
            marker={"size": 9, "symbol": "square-open" if teacher and teacher.label_fraction < 1 else "circle"},
            hovertemplate="%{x:.0%} of the labels: %{y:.2%}",
        )
    return styled(
        figure,
        height=480,
        xaxis={
            "title": "share of the training labels that are known",
            "type": "log",
            "tickformat": ".0%",
            "tickvals": sorted({arm.label_fraction for arm in study.carried_out}),
        },
        yaxis={"title": COLUMNS[metric][0], "tickformat": ".1%" if metric == "ece" else ".0%"},
        legend=LEGEND_BELOW,
    )


def omitted_class_recognised(study: MeasuredStudy) -> go.Figure:
    """A bar an arm: the share of the omitted class that its runs recognise, before and after the bias correction."""
    by_arm: dict[tuple[str, str], list[OmittedClassRun]] = {}
    for run in runs_of(study):
        taught = ROLE_NAMES["student"] if run.temperature is None else f"distilled,<br>T = {run.temperature:g}"
        by_arm.setdefault((f"no {run.arm.omitted_class}", taught), []).append(run)
    figure, words = go.Figure(), [list(each) for each in zip(*by_arm, strict=True)]
    for when, name, colour in (("before", "before the correction", PALETTE[4]), ("after", "after it", PALETTE[0])):
        figure.add_bar(
            x=words,
            y=[statistics.fmean(getattr(run, when)["omitted"] for run in runs) for runs in by_arm.values()],
            name=name,
            marker={"color": colour},
            hovertemplate="%{y:.1%}",
        )
    return styled(
        figure,
        xaxis={},
        yaxis={"title": "recognised", "tickformat": ".0%", "range": [0, 1]},
        legend=LEGEND_BELOW,
        barmode="group",
    )


def validation_accuracy_over(study: MeasuredStudy, field: str) -> go.Figure:
    """Validation accuracy over a field of the recipe that a study varies: a line a network or loss, a point a trial."""
    words, figure = field.replace("_", " "), go.Figure()
    for number, (who, arms) in enumerate(trials(study)[field].items()):
        spreads = [arm.mean["validation_accuracy"] for arm in arms]
        figure.add_scatter(
            x=[arm.changes[field] for arm in arms],
            y=[spread["mean"] for spread in spreads],
            error_y={"type": "data", "array": [spread["sd"] or 0 for spread in spreads]},
            name=who,
            mode="lines+markers",
            line={"color": _colour_of_network(arms[0], number), "width": 2},
            hovertemplate="%{x:g}: %{y:.2%}",
        )
    values = sorted({x for trace in figure.data for x in trace.x})
    return styled(
        figure,
        # As texts: Plotly would write a weight decay in millionths.
        xaxis={"title": words, "type": "log", "tickvals": values, "ticktext": [f"{value:g}" for value in values]},
        yaxis={"title": "validation accuracy", "tickformat": ".1%"},
        legend=LEGEND_BELOW,
    )


def rounded(figure: go.Figure) -> go.Figure:
    """The figure with numbers of six decimals: every visitor is sent all of them with the page."""
    for trace in figure.data:
        for series, key in ((trace, "x"), (trace, "y"), (trace.error_x, "array"), (trace.error_y, "array")):
            if series[key] is not None:
                series[key] = [round(value, 6) if isinstance(value, float) else value for value in series[key]]
    return figure


def captioned(figure: go.Figure, study: MeasuredStudy) -> go.Figure:
    """The figure with a line above it that says by which recipe, how long and on what the networks were trained."""
    return figure.update_layout(
        title={"text": in_short(study), "font": {"size": 12}, "x": 0, "xanchor": "left", "y": 1, "yanchor": "top",
               "pad": {"t": 14, "l": 4}},
        margin=MARGINS | {"t": 50},
    )  # fmt: skip


def _in_two_lines(arm: MeasuredArm) -> str:
    """An arm's name with its settings below it: a phone has no room for both side by side."""
    return _named(arm, before_settings="<br>")


def _named(arm: MeasuredArm, before_settings: str = ", ") -> str:
    """An arm's name: the page's own, where nothing parts it from the three networks there."""
    starved = arm.label_fraction < 1 or arm.teacher is not None and arm.teacher.label_fraction < 1
    own = arm.label or arm.changes or arm.omitted_class or starved
    return arm_name(arm, before_settings) if own else ROLE_NAMES[arm.role]


def _colours(study: MeasuredStudy) -> list[str]:
    """A colour for each arm: its role's for the first of a role, one of the palette for each further one."""
    colours, further = [], itertools.cycle(PALETTE)
    for arm in study.carried_out:
        own = ROLE_COLOURS[arm.role]
        colours.append(next(further) if own in colours else own)
    return colours


def _colour_of_network(arm: MeasuredArm, number: int) -> str:
    """A role's own colour for the recipe's loss, one of the palette for each other loss."""
    return PALETTE[number % len(PALETTE)] if arm.loss else ROLE_COLOURS[arm.role]


def _one_arm_a_role(study: MeasuredStudy) -> bool:
    return len({arm.role for arm in study.carried_out}) == len(study.carried_out)
