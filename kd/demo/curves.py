"""The training curves: accuracy over the epochs of each network."""

import plotly.graph_objects as go

from kd.colours import ROLE_COLOURS
from kd.figures import LEGEND_BELOW, styled
from kd.models import ROLE_NAMES

CURVE_KEYS = ("epoch", "accuracy", "validation_accuracy")  # of a line of history.jsonl


def training_curves(histories: dict[str, list[dict]]) -> go.Figure:
    """Validation accuracy over the epochs, a line for each network; training accuracy dotted.

    Args:
        histories: by role, the epochs of its history.jsonl that have `CURVE_KEYS`.
    """
    figure = go.Figure()
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
