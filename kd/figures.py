"""The style that all Plotly figures share.

Backgrounds are transparent and texts take the page's colour (page.css), so that the figures suit
light and dark alike. Series go out as lists: NumPy arrays would be packed as base64.
"""

import plotly.graph_objects as go

MARGINS = {"l": 60, "r": 20, "t": 30, "b": 50}  # pixels
# With its top fixed: on a phone it has many rows, which would else grow up over the axis's title.
LEGEND_BELOW = {"orientation": "h", "y": -0.25, "yanchor": "top"}
GRID = "rgba(128, 128, 128, .25)"
# For what is no role: of ten colours that can be told apart on white and on black (D3's category10) those that nobody
# takes for a role's.
PALETTE = ("#9467bd", "#d62728", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")


def styled(figure: go.Figure, xaxis: dict, yaxis: dict, height: int = 380, **layout: object) -> go.Figure:
    """The figure in the page's style; `height` in pixels, further settings as Plotly's layout has them."""
    return figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        margin=MARGINS,
        height=height,
        xaxis={"gridcolor": GRID, **xaxis},
        yaxis={"gridcolor": GRID, "zerolinecolor": GRID, "ticklabelstandoff": 6, **yaxis},
        hovermode="closest",
        **layout,
    )
