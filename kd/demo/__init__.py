"""The page. Importing this package imports Gradio; in `kd` only `kd.site.build`, which takes it apart, does so too."""

import os
import tempfile
from pathlib import Path

# Uploads lie in a folder of this page alone, which it sweeps.
os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()).resolve() / "gradio" / "dark-knowledge"))
# Gradio reads these when it is imported: no call home, and no Node process for server-side rendering.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_SSR_MODE", "False")

from kd.demo.page import build_page, launch  # noqa: E402

__all__ = ["build_page", "launch"]
