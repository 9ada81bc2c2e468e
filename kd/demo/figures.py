"""The Plotly figures: a teacher's probabilities over the temperature, and training curves.

Backgrounds are transparent and texts take the page's colour (page.css), so that the figures suit
light and dark alike. Series go out as lists: NumPy arrays would be packed as base64.
"""

import plotly.graph_objects as go
import torch

from kd.cifar10 import CLASSES
from kd.losses import soft_targets
from kd.results import ROLE_NAMES

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.5, 20.0  # the slider's range
MARGINS = {"l": 60, "r": 20, "t": 30, "b": 50}  # pixels; page.css marks T by them
POINTS = 81
# With its top fixed: on a phone it has many rows, which would else grow up over the axis's title.
LEGEND_BELOW = {"orientation": "h", "y": -0.25, "yanchor": "top"}
GRID = "rgba(128, 128, 128, .25)"
# Ten colours that can be told apart on white and on black (D3's category10, in class order).
PALETTE = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd",
    "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
ROLE_COLOURS = {"teacher": "#3b6fd4", "student": "#c9741a", "distilled": "#14866d"}  # as in live/live.css


def curves_over_temperature(teacher_logits: list[float]) -> go.Figure:
    """The teacher's ten probabilities as curves over T, from .5 to 20 on a logarithmic axis."""
    temperatures = torch.logspace(
        torch.tensor(MIN_TEMPERATURE).log10().item(), torch.tensor(MAX_TEMPERATURE).log10().item(), POINTS
    )
    logits = torch.tensor(teacher_logits)
    curves = torch.stack([soft_targets(logits, temperature) for temperature in temperatures.tolist()])
    order = torch.tensor(teacher_logits).argsort(descending=True).tolist()
    figure = go.Figure(
        [
            go.Scatter(
                x=[round(t, 4) for t in temperatures.tolist()],
                y=[round(p, 6) for p in curves[:, k].tolist()],
                name=CLASSES[k],
                mode="lines",
                line={"color": PALETTE[k], "width": 2},
                hovertemplate="T = %{x:.2f}: %{y:.1%}",
            )
            for k in order
        ]
    )
    return styled(
        figure,
        xaxis={
            "title": "temperature T",
            "type": "log",
            "range": [temperatures.log10()[0].item(), temperatures.log10()[-1].item()],
            "tickvals": [0.5, 1, 2, 4, 8, 20],
            "fixedrange": True,
        },
        yaxis={"title": "teacher's probability", "tickformat": ".0%", "rangemode": "tozero", "fixedrange": True},
        # Inside, where no curve comes (at a high T all are low): outside it would push the margins.
        legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(0, 0, 0, 0)"},
    )


def training_curves(histories: dict[str, list[dict]]) -> go.Figure:
    """Validation accuracy over the epochs, a line for each network; training accuracy dotted.

    Args:
        histories: by role, the epochs of its history.jsonl.
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


def styled(figure: go.Figure, xaxis: dict, yaxis: dict, height: int = 380, **layout: object) -> go.Figure:
    """The figure in the page's style; `height` in pixels, further settings as Plotly's layout has them."""
    return figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        margin=MARGINS,
        height=height,
        xaxis={"gridcolor": GRID, **xaxis},
        yaxis={"gridcolor": GRID, "zerolinecolor": GRID, **yaxis},
        hovermode="closest",
        **layout,
    )
