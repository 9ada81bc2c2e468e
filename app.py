"""Dark Knowledge, the page: `python app.py` serves it on http://127.0.0.1:7860.

Gradio's own settings apply (GRADIO_SERVER_NAME, GRADIO_SERVER_PORT); KD_CHECKPOINTS names another
folder of checkpoints.
"""

import os
import sys
from pathlib import Path

from kd.checkpoint import CheckpointError
from kd.demo import build_page, launch

DEFAULT_CHECKPOINTS = Path(__file__).parent / "checkpoints"

if __name__ == "__main__":
    try:
        page = build_page(os.environ.get("KD_CHECKPOINTS") or DEFAULT_CHECKPOINTS)
    except CheckpointError as error:
        sys.exit(f"app.py: {error}")
    launch(page)
