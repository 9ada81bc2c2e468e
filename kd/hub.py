"""`hf://OWNER/NAME[@REVISION]`, a model repository on the Hugging Face Hub, in place of a folder or a file.

Only such an address makes anything here talk to the Hub, and only to the Hub.
"""

import re
from pathlib import Path

from huggingface_hub import load_state_dict_from_file
from torch import Tensor

from kd.checkpoint import CONFIG, CheckpointError
from kd.dataset import EXAMPLES_FOLDER
from kd.fetch import fetch
from kd.files import fingerprint
from kd.models import ROLES
from kd.studies import omitted_class
from kd.studies.ledger import STUDIES_FOLDER

SCHEME = "hf://"
ADDRESS = re.compile(SCHEME + r"(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>.+))?")
ALSO = (
    f"{STUDIES_FOLDER}/*.json",
    f"{EXAMPLES_FOLDER}/examples.json",
    f"{EXAMPLES_FOLDER}/*.png",
)  # beside the checkpoints


def local_folder(checkpoints: str | Path) -> Path:
    """The folder of checkpoints that a path or an address names, fetched from the Hub where it is an address.

    Args:
        checkpoints: a folder, which is returned as it is; or `hf://OWNER/NAME[@REVISION]`, a model
            repository that holds teacher/, student/, distilled/ and what was measured of them.

    Raises:
        CheckpointError: not an address, no such repository or revision, no access, no connection and
            no copy from before, or not all three networks in it.
    """
    address = str(checkpoints)
    if not address.startswith(SCHEME):
        return Path(checkpoints)
    subfolders = (*ROLES, omitted_class.FOLDER, omitted_class.CONTROL_FOLDER)
    folder = fetch(*_parsed(address), subfolders, also=ALSO)
    missing = [f"{role}/{CONFIG}" for role in ROLES if not (folder / role / CONFIG).is_file()]
    if missing:
        raise CheckpointError(
            f"{address} is missing {', '.join(missing)}: name a repository with the three networks in it, "
            "as `hf upload OWNER/NAME checkpoints` makes one"
        )
    return folder


def read_weights(where: str) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """The tensors of a .safetensors file, of all such files in a folder, or of those in a repository on the Hub.

    Args:
        where: a path, or `hf://OWNER/NAME[@REVISION]`.

    Returns:
        The tensors by name, and size and sha256 of each file by its name.

    Raises:
        CheckpointError: it cannot be fetched, or holds no weights. Pickles are not read: they could run code.
    """
    path = Path(where)
    if where.startswith(SCHEME):
        path = fetch(*_parsed(where), ("",))
    files = sorted(path.glob("model*.safetensors")) if path.is_dir() else [path]
    if not files or files[0].suffix != ".safetensors" or not files[0].is_file():
        raise CheckpointError(
            f"{where} holds no .safetensors: name such a file or a folder with model.safetensors. Pickles (.pth, .bin) "
            "are not read, since they can run code"
        )
    tensors: dict[str, Tensor] = {}
    try:
        for file in files:
            tensors |= load_state_dict_from_file(file, safe=True)
    except Exception as error:  # a damaged file can raise nearly anything
        raise CheckpointError(f"{where} holds damaged weights ({error}): fetch them again") from error
    return tensors, {file.name: fingerprint(file) for file in files}


def _parsed(address: str) -> tuple[str, str | None]:
    """The repository and, where it is named, the revision; raises CheckpointError where neither is."""
    parts = ADDRESS.fullmatch(address)
    if not parts:
        raise CheckpointError(f"{address} names no repository: write {SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION")
    return parts["repository"], parts["revision"]
