"""Put what a command measured between two markers of a document, so that nobody copies figures by hand."""

import re
from pathlib import Path

from kd.checkpoint import write_atomically


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
