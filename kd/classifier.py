"""One trained network for any program, with the Hub's usual methods."""

from pathlib import Path

import torch
from huggingface_hub import ModelHubMixin
from torch import nn

from kd import checkpoint
from kd.fetch import fetch
from kd.files import write_json
from kd.inference import TrainedNetwork
from kd.model_card import CARD, model_card
from kd.models import ROLES
from kd.results import RESULTS, network_results, read_results


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
            folder = fetch(
                str(pretrained_model_name_or_path), revision, (subfolder,), token=token, cache_dir=cache_dir,
                force_download=force_download, local_files_only=local_files_only,
            )  # fmt: skip
        folder = folder / subfolder
        network, config = checkpoint.load(folder)
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
            write_json(save_directory / RESULTS, results)
        if not (save_directory / CARD).exists():
            model_card(config, results).save(save_directory / CARD)


def _measured(folder: Path, config: dict) -> dict | None:
    """The results of the checkpoint in `folder`, from beside it or, for one of three, from beside its folder."""
    for candidate in (folder, folder.parent)[: 2 if folder.name in ROLES else 1]:
        results = read_results(candidate)
        if results:
            return network_results(results, config)
    return None


@torch.no_grad()
def _fits_float16(network: nn.Module) -> bool:
    """Whether the tensors that a checkpoint can store in float16 survive it unchanged."""
    return all(torch.equal(tensor, tensor.half().to(tensor.dtype)) for tensor in network.state_dict().values()
               if tensor.ndim > 1)  # fmt: skip
