"""The Plotly figures of the studies: accuracy with its spread, calibration, agreement, accuracy against work."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import plotly.graph_objects as go

from kd.demo.figures import GRID, LEGEND_BELOW, MARGINS, PALETTE, ROLE_COLOURS, styled
from kd.results import ROLE_NAMES
from kd.studies.findings import accuracy_by_epochs, trials
from kd.studies.report import PUBLISHED, in_short


class StudyFigure(NamedTuple):
    """A figure of a study, with the name that its file in the README has and the heading that it has on the page."""

    name: str
    title: str
    figure: go.Figure


def figures_of(study: dict) -> list[StudyFigure]:
    """The figures that a study's measurements allow, each saying how its networks were trained."""
    return [
        StudyFigure(name, title, captioned(rounded(draw(study)), study))
        for name, (title, draw) in _suited_to(study).items()
    ]


def _suited_to(study: dict) -> dict[str, tuple[str, Callable[[dict], go.Figure]]]:
    if study.get("never_seen"):
        return {"unseen": ("The class it never saw", unseen_class_recognised)}
    if study.get("human_doubt"):
        return {"doubt": ("Distance from people's doubts", doubt_over_temperature)}
    if accuracy_by_epochs(study):
        return {"accuracy": ("Accuracy over the epochs of the schedule", accuracy_over_epochs)}
    if any("label_fraction" in arm["withheld"] for arm in study["arms"]):
        return {
            "accuracy": ("Accuracy over the labels that are known", accuracy_over_labels),
            "calibration": ("Calibration error over the labels that are known", calibration_over_labels),
        }
    if selected := {trial.field: trial.field.replace("_", " ") for trial in trials(study)}:
        return {
            field.replace("_", "-"): (
                f"Validation accuracy over the {words}",
                partial(validation_accuracy_over, field=field),
            )
            for field, words in selected.items()
        }
    accuracy = {"accuracy": ("Accuracy: every seed, mean and standard deviation", accuracy_of_arms)}
    if study["measured_on"] == "validation":
        return accuracy
    work = {"work": ("Accuracy against multiply-accumulates", accuracy_against_work)}
    return (
        accuracy
        | {
            "calibration": ("Calibration: how often it is right when it is that sure", reliability_diagram),
            "agreement": ("Agreement with the teacher", agreement_with_teacher),
        }
        | (work if _one_arm_a_role(study) else {})  # else many arms would share a point's place
    )


def accuracy_of_arms(study: dict) -> go.Figure:
    """A row an arm: each run's accuracy as a dot, the mean with its standard deviation as a diamond with a bar."""
    metric = "accuracy" if study["measured_on"] == "test" else "validation_accuracy"
    figure = go.Figure()
    for arm in _carried_out(study):
        colour, spread = ROLE_COLOURS[arm["role"]], arm["mean"][metric]
        figure.add_scatter(
            x=[run[metric] for run in arm["runs"]],
            y=[_in_two_lines(arm)] * len(arm["runs"]),
            mode="markers",
            marker={"color": colour, "size": 9, "opacity": 0.45},
            customdata=[run["seed"] for run in arm["runs"]],
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
        xaxis={"title": "test accuracy" if metric == "accuracy" else "validation accuracy", "tickformat": ".1%"},
        yaxis={"autorange": "reversed", "automargin": True},
        showlegend=False,
        height=110 + 50 * len(_carried_out(study)),
    )


def reliability_diagram(study: dict) -> go.Figure:
    """Accuracy over confidence, an interval a point, pooled over an arm's seeds; on the diagonal it is calibrated."""
    figure = go.Figure(
        go.Scatter(
            x=[0, 1], y=[0, 1], mode="lines", name="calibrated", line={"color": GRID, "dash": "dash"}, hoverinfo="skip"
        )
    )
    for colour, arm in zip(_colours(study), _carried_out(study), strict=True):
        intervals = [
            [sum(values) for values in zip(*(run["reliability"][key] for run in arm["runs"]), strict=True)]
            for key in ("images", "confidence", "right")
        ]
        points = [(sure / n, right / n, n) for n, sure, right in zip(*intervals, strict=True) if n]
        figure.add_scatter(
            x=[sure for sure, _, _ in points],
            y=[right for _, right, _ in points],
            name=f"{_in_two_lines(arm)}, calibration error {arm['mean']['ece']['mean']:.2%}",
            mode="lines+markers",
            line={"color": colour, "width": 2},
            customdata=[n for _, _, n in points],
            hovertemplate="%{x:.1%} sure, %{y:.1%} right, %{customdata:,} answers",
        )
    return styled(
        figure,
        height=440 + 20 * len(_carried_out(study)),  # the legend below takes a line an arm
        xaxis={"title": "mean confidence", "tickformat": ".0%", "range": [0, 1]},
        yaxis={"title": "accuracy", "tickformat": ".0%", "range": [0, 1]},
        legend=LEGEND_BELOW,
    )


def agreement_with_teacher(study: dict) -> go.Figure:
    """The share of test images on which an arm gives its teacher's answer, with the standard deviation over seeds."""
    arms = [arm for arm in _carried_out(study) if "agreement" in arm["mean"]]
    spreads = [arm["mean"]["agreement"] for arm in arms]
    figure = go.Figure(
        go.Bar(
            x=[spread["mean"] for spread in spreads],
            y=[_in_two_lines(arm) for arm in arms],
            orientation="h",
            marker={"color": [ROLE_COLOURS[arm["role"]] for arm in arms]},
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


def accuracy_against_work(study: dict) -> go.Figure:
    """Accuracy over multiply-accumulates: this study's arms, and networks that others have published."""
    figure = go.Figure()
    for colour, arm in zip(_colours(study), _carried_out(study), strict=True):
        figure.add_scatter(
            x=[arm["macs"] / 1e6],
            y=[arm["mean"]["accuracy"]["mean"]],
            name=arm["name"],
            mode="markers",
            marker={"color": colour, "size": 12},
            hovertemplate="%{x:.1f} million multiply-accumulates: %{y:.2%}",
        )
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


def doubt_over_temperature(study: dict) -> go.Figure:
    """Kullback-Leibler divergence from people's distribution to each arm's, over the temperature of its softmax."""
    found, figure = study["human_doubt"], go.Figure()
    for colour, (name, arm) in zip(_colours(study), found["arms"].items(), strict=True):
        figure.add_scatter(
            x=found["temperatures"],
            y=arm["kl"],
            name=name,
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


def accuracy_over_epochs(study: dict) -> go.Figure:
    """Test accuracy of both students over the epochs of their schedules: mean and standard deviation over the seeds."""
    figure = go.Figure()
    for role, schedules in accuracy_by_epochs(study).items():
        epochs = sorted(schedules)
        values = [list(schedules[each].values()) for each in epochs]
        figure.add_scatter(
            x=epochs,
            y=[statistics.fmean(each) for each in values],
            error_y={"array": [statistics.stdev(each) if len(each) > 1 else 0 for each in values]},
            mode="lines+markers",
            name=ROLE_NAMES[role],
            line={"color": ROLE_COLOURS[role]},
            hovertemplate="%{x} epochs: %{y:.2%}<extra>%{fullData.name}</extra>",
        )
    ticks = sorted({epochs for schedules in accuracy_by_epochs(study).values() for epochs in schedules})
    xaxis = {"title": "epochs of the schedule", "type": "log", "tickvals": ticks, "ticktext": [str(t) for t in ticks]}
    return styled(figure, xaxis, {"title": "test accuracy", "tickformat": ".0%"})


def unseen_class_recognised(study: dict) -> go.Figure:
    """A bar a run: the share of the class it never saw that it recognises, before and after the bias correction."""
    runs = study["never_seen"]["runs"]
    taught = ["alone" if run["temperature"] is None else f"T = {run['temperature']:g}" for run in runs]
    figure = go.Figure()
    for key, name, colour in (("before", "before the correction", PALETTE[7]), ("after", "after it", PALETTE[2])):
        figure.add_bar(
            x=[[f"no {run['unseen']}" for run in runs], taught],
            y=[run[key]["unseen"] for run in runs],
            name=name,
            marker={"color": colour},
            hovertemplate="%{y:.1%}",
        )
    return styled(
        figure,
        xaxis={},
        yaxis={"title": "accuracy on the unseen class", "tickformat": ".0%", "range": [0, 1]},
        legend=LEGEND_BELOW,
        barmode="group",
    )


def accuracy_over_labels(study: dict) -> go.Figure:
    """Accuracy over the share of labels, a line a way of teaching, with the standard deviation over the seeds."""
    return _over_labels(study, "accuracy", "test accuracy", ".0%")


def calibration_over_labels(study: dict) -> go.Figure:
    """Calibration error over the share of labels, a line a way of teaching, with the standard deviation."""
    return _over_labels(study, "ece", "calibration error", ".1%")


def validation_accuracy_over(study: dict, field: str) -> go.Figure:
    """Validation accuracy over a field of the recipe that a study varies: a line a network or loss, a point a trial."""
    words, figure = field.replace("_", " "), go.Figure()
    lines: dict[str, list[dict]] = {}
    for trial in trials(study):
        if trial.field == field:
            lines.setdefault(trial.who, []).append(trial.arm)
    for number, (who, arms) in enumerate(lines.items()):
        spreads = [arm["mean"]["validation_accuracy"] for arm in arms]
        figure.add_scatter(
            x=[arm["recipe"][field] for arm in arms],
            y=[spread["mean"] for spread in spreads],
            error_y={"type": "data", "array": [spread["sd"] or 0 for spread in spreads]},
            name={"alone": "student alone"}.get(who, who),
            mode="lines+markers",
            line={"color": _COLOUR_OF_WHO.get(who, PALETTE[number % len(PALETTE)]), "width": 2},
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


def captioned(figure: go.Figure, study: dict) -> go.Figure:
    """The figure with a line above it that says by which recipe, how long and on what the networks were trained."""
    return figure.update_layout(
        title={"text": in_short(study), "font": {"size": 11}, "x": 0, "xanchor": "left", "y": 1, "yanchor": "top",
               "pad": {"t": 8, "l": 4}},
        margin=MARGINS | {"t": 50},
    )  # fmt: skip


_COLOUR_OF_WHO = {"alone": ROLE_COLOURS["student"], "distilled": ROLE_COLOURS["distilled"]}

# Where all labels are known, the same ways of teaching have other names.
_WITH_ALL_LABELS = {"student alone": "alone", "distilled": "all images, full teacher"}


def _over_labels(study: dict, metric: str, title: str, form: str) -> go.Figure:
    lines: dict[str, list[tuple[float, dict]]] = {}
    for arm in _carried_out(study):
        name = arm["name"]
        way = name.partition(", ")[2] if "label_fraction" in arm["withheld"] else _WITH_ALL_LABELS.get(name, name)
        share = arm["withheld"].get("label_fraction", 1.0)
        lines.setdefault(way, []).append((share, arm["mean"][metric]))
    figure = go.Figure()
    for number, (way, points) in enumerate(lines.items()):
        figure.add_scatter(
            x=[share for share, _ in points],
            y=[spread["mean"] for _, spread in points],
            error_y={"type": "data", "array": [spread["sd"] or 0 for _, spread in points]},
            name=way,
            mode="lines+markers",
            line={"color": PALETTE[number % len(PALETTE)], "width": 2},
            hovertemplate="%{x:.0%} of the labels: %{y:.2%}",
        )
    return styled(
        figure,
        height=480,
        xaxis={
            "title": "share of the training labels that are known",
            "type": "log",
            "tickformat": ".0%",
            "tickvals": sorted({share for points in lines.values() for share, _ in points}),
        },
        yaxis={"title": title, "tickformat": form},
        legend=LEGEND_BELOW,
    )


def _in_two_lines(arm: dict) -> str:
    """An arm's name with its settings below it: a phone has no room for both side by side."""
    return arm["name"].replace(" (", "<br>(")


def _carried_out(study: dict) -> list[dict]:
    return [arm for arm in study["arms"] if arm["runs"]]


def _colours(study: dict) -> list[str]:
    """A colour for each arm: its role's where every role has one arm, else one of the palette."""
    arms = _carried_out(study)
    if _one_arm_a_role(study):
        return [ROLE_COLOURS[arm["role"]] for arm in arms]
    return [PALETTE[number % len(PALETTE)] for number in range(len(arms))]


def _one_arm_a_role(study: dict) -> bool:
    arms = _carried_out(study)
    return len({arm["role"] for arm in arms}) == len(arms)
