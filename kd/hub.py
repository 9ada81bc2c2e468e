"""The Hugging Face Hub: checkpoints fetched from it, and a network in the Hub's usual form.

Only a name of a repository makes anything here talk to the Hub, and only to the Hub. What is
fetched is what a checkpoint is (see `kd.checkpoint`): JSON and safetensors, verified when read;
nothing of it is executed.
"""

import re
from pathlib import Path, PurePosixPath

import torch
from huggingface_hub import ModelCard, ModelHubMixin, load_state_dict_from_file, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor, nn

from kd import checkpoint
from kd.checkpoint import CONFIG, HISTORY, INDEX, CheckpointError
from kd.dataset import EXAMPLES_FOLDER
from kd.inference import TrainedNetwork
from kd.model_card import CARD, model_card
from kd.models import ROLES
from kd.recording import RECORDING
from kd.results import RESULTS, read_results, results_of
from kd.studies import omitted_class
from kd.studies.ledger import STUDIES_FOLDER

SCHEME = "hf://"
ADDRESS = re.compile(SCHEME + r"(?P<repository>[^/@]+/[^/@]+)(@(?P<revision>.+))?")
ALSO = (
    f"{STUDIES_FOLDER}/*.json",
    f"{EXAMPLES_FOLDER}/examples.json",
    f"{EXAMPLES_FOLDER}/*.png",
)  # beside the checkpoints
CHECKPOINT_FILES = (CONFIG, HISTORY, RECORDING, INDEX, "model*.safetensors")

# What the Hub's client reports, the narrower before the wider, and the way out of it.
_WAYS_OUT = (
    (GatedRepoError, "access is granted on request: ask for it on the repository's page, then log in with "
                     "`hf auth login` or set HF_TOKEN"),
    (RepositoryNotFoundError, "there is no such model repository, or it is private: check the name, or log in with "
                              "`hf auth login` or set HF_TOKEN"),
    (RevisionNotFoundError, "the repository has no such revision: name one of its branches, tags or commits"),
    (HfHubHTTPError, "the Hub refuses or is out of order: check that your token may read the repository, or try again"),
    (LocalEntryNotFoundError, "the Hub cannot be reached and no whole copy is kept here: connect (HF_HUB_OFFLINE must "
                              "not be set), or name a folder of checkpoints"),
    (HFValidationError, "this cannot be a repository's name: write OWNER/NAME"),
)  # fmt: skip


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
    parts = ADDRESS.fullmatch(address)
    if not parts:
        raise CheckpointError(f"{address} names no repository: write {SCHEME}OWNER/NAME or {SCHEME}OWNER/NAME@REVISION")
    subfolders = (*ROLES, omitted_class.FOLDER, omitted_class.CONTROL_FOLDER)
    folder = _fetch(parts["repository"], parts["revision"], subfolders, also=ALSO)
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
        parts = ADDRESS.fullmatch(where)
        if not parts:
            raise CheckpointError(f"{where} names no repository: write {SCHEME}OWNER/NAME")
        path = _fetch(parts["repository"], parts["revision"], ("",))
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
    return tensors, {file.name: checkpoint.fingerprint(file) for file in files}


def _fetch(
    repository: str, revision: str | None, subfolders: tuple[str, ...], also: tuple[str, ...] = (), **options
) -> Path:
    """Download the checkpoints in some subfolders of a model repository ("" is its top), its results, and `also`.

    What is in the Hub's cache already is not downloaded again, and serves without a connection.
    """
    files = (*CHECKPOINT_FILES, RESULTS)
    patterns = [str(PurePosixPath(subfolder, name)) for subfolder in subfolders for name in files]
    patterns += [RESULTS, *also]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns, **options))
    except Exception as error:  # a connection fails in more ways than the Hub's client has classes for
        address = repository + (f"@{revision}" if revision else "")
        raise CheckpointError(f"{address} could not be fetched from the Hub: {_way_out(error)}") from error


def _way_out(error: Exception) -> str:
    """What a failed download was, and what to do about it."""
    # Where no copy is kept either, the client says that, and what the Hub responded is the cause below it.
    cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
    for kind, way_out in _WAYS_OUT:
        if isinstance(cause, kind):
            return way_out
    return f"the download failed ({error}): try again, or name a folder of checkpoints"


class Classifier(TrainedNetwork, ModelHubMixin):
    """A trained network with `from_pretrained`, `save_pretrained` and `push_to_hub`.

        network = Classifier.from_pretrained("OWNER/NAME", subfolder="teacher")
        network.classify("photo.jpg")  # {"cat": 0.9, ...}
        logits = network(images)

    Attributes:
        results: results.json of this network alone; None where none was measured with these weights.
    """

    def __init__(self, network: nn.Module, config: dict, results: dict | None = None) -> None:
        super().__init__(network, config)
        self.results = results

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        subfolder: str = "",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> "Classifier":
        """Read a network from a folder, or from a model repository on the Hub.

        Args:
            pretrained_model_name_or_path: a checkpoint's folder where there is one of that name; else
                OWNER/NAME of a repository.
            subfolder: the checkpoint's folder inside, such as "teacher"; "" for the top.
            revision, token, cache_dir, force_download, local_files_only: as everywhere on the Hub.

        Raises:
            CheckpointError: it cannot be fetched, is damaged, or is no network of this project.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            folder = _fetch(
                str(pretrained_model_name_or_path), revision, (subfolder,), token=token, cache_dir=cache_dir,
                force_download=force_download, local_files_only=local_files_only,
            )  # fmt: skip
        folder = folder / subfolder
        network, config = checkpoint.load(folder)
        if config["role"] not in ROLES:
            raise CheckpointError(
                f"{folder} holds a {config['role']}, not one of {', '.join(ROLES)}: name a checkpoint of this project"
            )
        return cls(network, config, _measured(folder, config))

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write config.json, the weights, the results and the card; what `save_pretrained` and `push_to_hub` call.

        The weights are stored in float16 where that changes none of them. The results go along as
        long as the weights are those that they were measured with. A card that is there stays.
        """
        checkpoint.save(self.network, self.config, save_directory, half=_fits_float16(self.network))
        config = checkpoint.load_config(save_directory)
        results = self.results if config["weights"] == self.config["weights"] else None
        if results:
            checkpoint.write_json(save_directory / RESULTS, results)
        if not (save_directory / CARD).exists():
            model_card(config, results).save(save_directory / CARD)

    def generate_model_card(self, *arguments, **options) -> ModelCard:
        """The card that `save_pretrained` writes, made from config.json and results.json."""
        return model_card(self.config, self.results)


def _measured(folder: Path, config: dict) -> dict | None:
    """The results of the checkpoint in `folder`, from beside it or, for one of three, from beside its folder."""
    for candidate in (folder, folder.parent)[: 2 if folder.name in ROLES else 1]:
        results = read_results(candidate)
        if results:
            return results_of(results, config)
    return None


@torch.no_grad()
def _fits_float16(network: nn.Module) -> bool:
    """Whether the tensors that a checkpoint can store in float16 survive it unchanged."""
    return all(torch.equal(tensor, tensor.half().to(tensor.dtype)) for tensor in network.state_dict().values()
               if tensor.ndim > 1)  # fmt: skip
