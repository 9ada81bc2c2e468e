"""The teacher as a student asks it: frozen, and asked about each batch once.

The batches follow from the seed, the augmentation and the epoch (see `kd.training.batches`), not from the loss: all
students of one seed are shown the identical images. The teacher's answers to them can therefore be kept in a file and
read again, exactly as they were, by the next student, whatever its loss, temperature or weight decay.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kd.checkpoint import write_atomically
from kd.processes import autocast


class FrozenTeacher(nn.Module):
    """A network that only answers: no gradients, and evaluation mode whatever `train()` is called."""

    def __init__(self, network: nn.Module, precision: str = "auto") -> None:
        """Freeze a network.

        Args:
            network: anything that turns images into logits.
            precision: what it computes in, as in a recipe: best that of its own training.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        self.precision = precision
        self.train()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in evaluation mode: in training mode the batch-norm statistics would drift."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The logits, float32, (N, K), of normalised images, (N, 3, H, W)."""
        with autocast(self.precision, images.device):
            return self.network(images).float()


class Answers:
    """A teacher's logits for the batches of one epoch, in their order: read from a file, or asked for and kept there.

    Attributes:
        path: the file; None asks every time and keeps nothing. One that is damaged or of another
            number of images is as good as none: it is a copy of what the teacher can say again.
    """

    def __init__(self, teacher: FrozenTeacher, path: Path | None, images: int) -> None:
        """Begin an epoch of that many images."""
        self.teacher, self.path, self.images = teacher, path, images
        self.given: list[Tensor] = []
        self.known = self._read()

    def __call__(self, images: Tensor) -> Tensor:
        """The teacher's logits, float32, (N, K), for the next batch, (N, 3, H, W)."""
        if self.known is None:
            logits = self.teacher(images)
            self.given.append(logits)
        else:
            logits, self.known = self.known[: len(images)], self.known[len(images) :]
        return logits.to(images.device)

    def keep(self) -> None:
        """End the epoch: write what the teacher was asked.

        Raises:
            OSError: the disk is full or not writable.
        """
        if self.path and self.given:
            content = save({"logits": torch.cat(self.given).cpu()})
            write_atomically(self.path, lambda temporary: temporary.write_bytes(content))

    def _read(self) -> Tensor | None:
        if self.path is None or not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                logits = file.get_tensor("logits")
        except (SafetensorError, OSError):
            return None
        return logits if len(logits) == self.images else None
