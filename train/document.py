"""Put what commands measured between markers of a document, so that nobody copies figures by hand.

All else in the document is written by hand, and stays.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from kd.files import write_atomically
from kd.studies.claims import claims
from kd.studies.ledger import MeasuredStudy
from kd.studies.report import is_short, runs_table, study_table, verdicts

SHORT_RUNS, LAST = "## Short runs\n", "## Measured and replaced\n"  # headings before which new studies go
VERDICTS = "verdicts of "
BESIDES = ("agreement", "calibration-error")  # the figures of the claims that a study's tables have no verdict of


def write_studies(path: Path, studies: Iterable[MeasuredStudy], figures: Path) -> None:
    """Write the section of each study; one that has none gets it, under its question, where studies like it end.

    A document with a line `<!-- verdicts of NAME -->`, like README.md, gets the verdicts of that study and no section.

    Args:
        path: the document.
        figures: the folder of the SVG files, which the sections link to.

    Raises:
        OSError: the document cannot be read or written.
    """
    for study in studies:
        name, content = f"study {study.study}", path.read_text("utf-8")
        if f"<!-- {VERDICTS}" in content:
            if f"<!-- {VERDICTS}{study.study} -->" in content:
                told = [*verdicts(study), *claims_besides(study)]
                write_section(path, VERDICTS + study.study, "\n\n".join(told) + "\n")
            continue
        if f"<!-- {name} -->" not in content:
            new = f"## {study.question}\n\n<!-- {name} -->\n<!-- end of {name} -->\n\n"
            before, following, rest = content.partition(LAST if is_short(study) else SHORT_RUNS)
            content = before + ("" if following else "\n") + ("#" if is_short(study) else "") + new + following + rest
            write_atomically(path, lambda temporary, content=content: temporary.write_text(content, "utf-8"))
        write_section(path, name, section_of(study, os.path.relpath(figures, path.parent)))


def section_of(study: MeasuredStudy, figures: str) -> str:
    """A study as the documentation shows it: its tables and sentences, every run, its figures."""
    # Here, because it brings Plotly with it: a machine that trains need not have that.
    from kd.studies.figures import drawings_of

    claimed = "".join(f"- {claim}\n" for claim in claims_besides(study))
    links = [f"\n![{each.title}]({figures}/{study.study}-{each.name}.svg)\n" for each in drawings_of(study)]
    runs = f"\n<details><summary>Every run</summary>\n\n{runs_table(study)}\n\n</details>\n"
    return study_table(study) + ("\n" + claimed if claimed else "") + runs + "".join(links)


def claims_besides(study: MeasuredStudy) -> list[str]:
    """The page's sentences on agreement and calibration, whose verdicts none of the study's tables tells."""
    made = claims({study.study: study})
    return [f"**{claim.verdict}**: {claim.sentence}" for claim in made if claim.figure in BESIDES]


def write_section(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- end of name -->`.

    Raises:
        OSError: the file has no such markers, or cannot be read or written.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    section = re.compile(f"({re.escape(begin)}).*({re.escape(end)})", re.DOTALL)
    content = path.read_text("utf-8")
    if not section.search(content):
        raise OSError(f"{path} has no lines {begin.strip()} and {end} to write between")
    content = section.sub(lambda match: match[1] + text + match[2], content)
    write_atomically(path, lambda temporary: temporary.write_text(content, "utf-8"))
