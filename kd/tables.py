"""Tables as Markdown has them, for documents, terminals and the page."""

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    """A Markdown table: the first columns, `names` of them, to the left, figures to the right."""
    rule = ["---"] * names + ["---:"] * (len(headings) - names)
    return "\n".join("| " + " | ".join(row) + " |" for row in (headings, rule, *rows))
