"""What an interrupted run needs to go on as if nothing had happened, in a file beside its checkpoint."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from kd import checkpoint
from kd.recipe import Recipe

STATE = "training-state.pt"


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why and what is left to do."""


@dataclass
class TrainingState:
    """A run between two epochs.

    Attributes:
        recipe: a state is good for this run alone.
        history: a dict of measurements for each epoch done.
    """

    network: nn.Module
    optimizers: list[torch.optim.Optimizer]
    recipe: Recipe
    history: list[dict] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the state atomically.

        Raises:
            OSError: the disk is full or not writable.
        """
        state = {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "recipe": asdict(self.recipe),
            "history": self.history,
        }
        serialised = io.BytesIO()  # torch.save itself would hide a full disk behind a RuntimeError of its own
        torch.save(state, serialised)
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
            self.network.load_state_dict(state["network"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.history[:] = state["history"]
        except Exception as error:  # a damaged file can raise nearly anything
            reason = str(error).partition("\n")[0]  # PyTorch goes on with advice that does not apply
            raise TrainingError(f"{path} cannot be read ({reason}): give --restart to train from the start") from error
