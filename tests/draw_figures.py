"""Draw the studies' figures for the documentation: `python -m tests.draw_figures`.

The page draws them with Plotly in the browser, so this does too, in Chromium. Each becomes
checkpoints/studies/figures/STUDY-FIGURE.svg, which ends in the digest of the JSON that it was drawn from.
"""

import argparse
import hashlib
import json
from urllib.parse import unquote

import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

from kd.files import write_atomically
from kd.studies.figures import drawings_of
from kd.studies.ledger import FIGURES_FOLDER, STUDIES_FOLDER, read_studies
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, ROOT

CHECKPOINTS = ROOT / "checkpoints"
FIGURES = CHECKPOINTS / STUDIES_FOLDER / FIGURES_FOLDER
WIDTH = 800  # pixels


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.draw_figures", description=__doc__.splitlines()[0])
    parser.parse_args(arguments)
    drawn = {
        FIGURES / f"{name}-{drawing.name}.svg": (name, drawing.figure(study))
        for name, study in read_studies(CHECKPOINTS).items()
        for drawing in drawings_of(study)
    }
    for old in set(FIGURES.glob("*.svg")) - drawn.keys():
        old.unlink()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.add_script_tag(content=get_plotlyjs())
        for path, (study, figure) in drawn.items():
            text = svg(page, figure) + source_mark(study)
            write_atomically(path, lambda temporary, text=text: temporary.write_text(text, "utf-8"))
            print(path.relative_to(ROOT))
        browser.close()


def svg(page, figure: go.Figure) -> str:
    """The figure as SVG text, on white: the documentation may be read on any background."""
    figure.update_layout(paper_bgcolor="white", width=WIDTH)
    address = page.evaluate(
        """async (figure) => {
            // Plotly draws the names of its elements at random: an unchanged figure is to be an unchanged file.
            let state = 1;
            Math.random = () => (state = state * 16807 % 2147483647) / 2147483647;
            return Plotly.toImage(figure, {format: 'svg', width: figure.layout.width, height: figure.layout.height});
        }""",
        json.loads(figure.to_json()),
    )
    return unquote(address.partition(",")[2]).replace(' style=""', "")  # which Chromium writes now here, now there


def source_mark(study: str) -> str:
    """What the SVG ends in: by it a test sees whether the study has changed since."""
    content = (CHECKPOINTS / STUDIES_FOLDER / f"{study}.json").read_bytes()
    return f"\n<!-- {study}.json {hashlib.sha256(content).hexdigest()} -->\n"


if __name__ == "__main__":
    main()
