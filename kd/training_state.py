"""What an interrupted run needs to go on as if nothing had happened, in a file beside its checkpoint."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from kd import checkpoint
from kd.recipe import Recipe

STATE = "training-state.pt"


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why and what is left to do."""


@dataclass
class TrainingState:
    """A run between two epochs.

    Attributes:
        average: the moving average of the network's weights, where the recipe asks for one.
        recipe: a state is good for this run alone.
        history: a dict of measurements for each epoch done.
    """

    network: nn.Module
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    history: list[dict] = field(default_factory=list)

    @property
    def kept(self) -> nn.Module:
        """What is measured and exported: the moving average where there is one, else the network itself."""
        return self.average.module if self.average else self.network

    def save(self, path: Path) -> None:
        """Write the state atomically.

        Raises:
            OSError: the disk is full or not writable.
        """
        state = {name: part.state_dict() if part else None for name, part in self._parts().items()}
        serialised = io.BytesIO()  # torch.save itself would hide a full disk behind a RuntimeError of its own
        torch.save(state | {"recipe": asdict(self.recipe), "history": self.history}, serialised)
        checkpoint.write_atomically(path, lambda temporary: temporary.write_bytes(serialised.getbuffer()))

    def load(self, path: Path, device: torch.device) -> None:
        """Put everything where `save` left it; without a file the run is at its start.

        Raises:
            TrainingError: the file is damaged or another run's.
        """
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=device, weights_only=True)
            if Recipe(**state["recipe"]) != self.recipe:
                raise ValueError("it belongs to a run with other options")
            for name, part in self._parts().items():
                if part:
                    part.load_state_dict(state[name])
            self.history[:] = state["history"]
        except Exception as error:  # a damaged file can raise nearly anything
            reason = str(error).partition("\n")[0]  # PyTorch goes on with advice that does not apply
            raise TrainingError(f"{path} cannot be read ({reason}): give --restart to train from the start") from error

    def _parts(self) -> dict:
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}
