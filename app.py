"""Dark Knowledge, the page: `python app.py` serves it on http://127.0.0.1:7860.

Gradio's own settings apply (GRADIO_SERVER_NAME, GRADIO_SERVER_PORT); KD_CHECKPOINTS names another
folder of checkpoints, or a repository on the Hugging Face Hub that holds one (hf://OWNER/NAME).
"""

import os
import sys
from pathlib import Path

from kd.checkpoint import CheckpointError
from kd.demo import build_page, launch
from kd.hub import local_folder

DEFAULT_CHECKPOINTS = Path(__file__).parent / "checkpoints"

if __name__ == "__main__":
    try:
        page = build_page(local_folder(os.environ.get("KD_CHECKPOINTS") or DEFAULT_CHECKPOINTS))
    except CheckpointError as error:
        sys.exit(f"app.py: {error}")
    launch(page)
