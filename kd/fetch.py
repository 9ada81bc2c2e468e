"""Checkpoints downloaded from the Hugging Face Hub.

What is fetched is what a checkpoint is (see `kd.checkpoint`): JSON and safetensors, verified when read; nothing of it
is executed.
"""

from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from kd.checkpoint import CONFIG, HISTORY, INDEX, CheckpointError
from kd.recording import RECORDING
from kd.results import RESULTS

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


def fetch(
    repository: str, revision: str | None, subfolders: tuple[str, ...], also: tuple[str, ...] = (), **options
) -> Path:
    """Download the checkpoints in some subfolders of a model repository ("" is its top), its results, and `also`.

    What is in the Hub's cache already is not downloaded again, and serves without a connection.

    Args:
        revision: a branch, tag or commit; None for the newest.
        also: patterns of further files.
        options: of `snapshot_download`.

    Raises:
        CheckpointError: no such repository or revision, no access, or no connection and no copy from before.
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
