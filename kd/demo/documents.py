"""The documentation, docs/ of a checkout: the page serves it as text, and a Space's host shows it as pages."""

import os
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"  # not there where `kd` alone is installed


def document(name: str) -> str:
    """Markdown: a document's name, as a link where there is something to lead to."""
    if not (DOCS / name).is_file():
        return f"docs/{name}"
    space = os.environ.get("SPACE_ID")  # OWNER/NAME, set by the Hub on a Space
    return f"[docs/{name}]({f'https://huggingface.co/spaces/{space}/blob/main/' if space else ''}docs/{name})"
