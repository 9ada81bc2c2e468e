"""The page. Importing this package imports Gradio; in `kd` only `kd.site.build`, which takes it apart, does so too."""

import os
import tempfile
from pathlib import Path

# Uploads lie in a folder of this page alone, which it sweeps: the one that a host names may hold other files.
_place = os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio"
os.environ["GRADIO_TEMP_DIR"] = str(Path(_place).resolve() / "dark-knowledge")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # no call home, whoever makes Blocks

from kd.demo.page import build_page, launch  # noqa: E402

__all__ = ["build_page", "launch"]
