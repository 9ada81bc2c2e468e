"""The page without a server: `python -m train.export --site DIR`."""

import sys
from pathlib import Path

from kd import export
from kd.checkpoint import CheckpointError
from kd.export import ExportError


def write(command: str, folder: Path, checkpoints: Path) -> None:
    """Write the page to a folder, and tell the steps; ends the command where that cannot be done.

    Args:
        command: what it is called in the sentence that it ends with.
        checkpoints: of the three networks.
    """
    try:
        export.require_packages("markdown_it")
        from kd.site import build  # with Gradio, whose page it is taken from
        from kd.site.runtime import RuntimeFetchError
    except ExportError as error:
        sys.exit(f"{command}: {error}")
    try:
        for step in build.write_site(checkpoints, folder):
            print(step, flush=True)
    except (CheckpointError, ExportError, RuntimeFetchError, OSError) as error:
        sys.exit(f"{command}: {error}")
