"""The documentation, docs/ of a checkout: the page serves it as text, and a Space's host shows it as pages."""

import os
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"  # not there where `kd` alone is installed


def document(name: str) -> str:
    """Markdown: a document's name, as a link where there is something to lead to."""
    return f"[docs/{name}]({address})" if (address := url_of(name)) else f"docs/{name}"


def link(name: str) -> str:
    """The same as HTML."""
    address = url_of(name)
    return f'<a href="{address}" target="_blank">docs/{name}</a>' if address else f"docs/{name}"


def url_of(name: str) -> str | None:
    """Where a document can be read; None where it does not ship."""
    if not (DOCS / name).is_file():
        return None
    return f"{f'{space}/blob/main/' if (space := space_address()) else ''}docs/{name}"


def space_address() -> str | None:
    """Where this Space's files can be cloned from; None where the page is no Space."""
    space = os.environ.get("SPACE_ID")  # OWNER/NAME, set by the Hub
    return f"https://huggingface.co/spaces/{space}" if space else None
