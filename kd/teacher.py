"""The teacher as a student asks it: frozen, and asked about each view of an image once.

How an image looks in an epoch follows from the augmentation seed, the epoch and the image's index (see `kd.augment`),
not from the run. The teacher's logits are therefore kept by epoch and index, and serve every seed, loss, temperature
and subset of the images that comes later.
"""

from pathlib import Path

import torch
import torch.distributed as distributed
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kd.checkpoint import write_atomically
from kd.dataset import COPY
from kd.device import Processes, autocast

HALF_MAX = torch.finfo(torch.float16).max


class FrozenTeacher(nn.Module):
    """A network that only answers: no gradients, and evaluation mode whatever `train()` is called."""

    def __init__(self, network: nn.Module, precision: str = "float32", classes: int = 10) -> None:
        """Freeze a network.

        Args:
            network: anything that turns images into logits.
            precision: what it computes in, float32 or bfloat16.
            classes: the number of its logits.
        """
        super().__init__()
        self.classes = classes
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


class CachedLogits:
    """A teacher's logits of one epoch's views, by image index: read from a file, or asked for and kept there.

    They are float16, which rounds a logit below 16 by at most .004, whether they come from the file or from the
    teacher: so the first student learns the same as those that read. For further copies of an image (see
    `LabelledImages`) the teacher is asked each time.

    Attributes:
        path: the file; None keeps nothing. One that is damaged is as good as none: the teacher can be asked again.
        logits: float16, (images, K), NaN where the teacher was not asked yet.
    """

    def __init__(self, teacher: FrozenTeacher, path: Path | None) -> None:
        self.teacher, self.path = teacher, path
        self.logits = self._read()
        self.asked: list[Tensor] = []  # the indices of what is not in the file yet

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """The teacher's logits, float32, (N, K).

        Args:
            images: normalised views of this epoch, (N, 3, H, W).
            index: which images these are, int64, (N,).
        """
        rows = index.cpu()
        logits = torch.full((len(rows), self.logits.shape[1]), torch.nan, dtype=torch.float16)
        kept = rows < len(self.logits)
        logits[kept] = self.logits[rows[kept]]
        if (unknown := logits[:, 0].isnan()).any():
            fresh = self.teacher(images[unknown.to(images.device)])
            # Only a teacher that has hardly learnt has logits beyond float16's range; infinite ones would end the run.
            logits[unknown] = fresh.clamp(-HALF_MAX, HALF_MAX).half().cpu()
            self._remember(rows[unknown], logits[unknown])
        return logits.to(images.device).float()

    def keep(self) -> None:
        """End the epoch: write what the teacher was asked; processes that train together write one file.

        Raises:
            OSError: the disk is full or not writable.
        """
        new = self._gathered()
        if self.path and new and Processes.current().rank == 0:
            content = save({"logits": self.logits})
            write_atomically(self.path, lambda temporary: temporary.write_bytes(content))

    def _remember(self, rows: Tensor, logits: Tensor) -> None:
        original = rows < COPY
        rows, logits = rows[original], logits[original]
        if len(rows):
            self._make_room(rows.max().item() + 1)
            self.logits[rows] = logits
            self.asked.append(rows)

    def _make_room(self, images: int) -> None:
        if (missing := images - len(self.logits)) > 0:
            empty = torch.full((missing, self.logits.shape[1]), torch.nan, dtype=torch.float16)
            self.logits = torch.cat([self.logits, empty])

    def _gathered(self) -> bool:
        """Take in what the other processes asked; returns whether any asked at all."""
        processes = Processes.current()
        asked = torch.cat(self.asked) if self.asked else torch.empty(0, dtype=torch.int64)
        if processes.count == 1:
            return len(asked) > 0
        shares: list = [None] * processes.count
        distributed.all_gather_object(shares, (asked, self.logits[asked]))
        for rows, logits in shares:
            if len(rows):
                self._make_room(rows.max().item() + 1)
                self.logits[rows] = logits
        return any(len(rows) for rows, _ in shares)

    def _read(self) -> Tensor:
        empty = torch.empty(0, self.teacher.classes, dtype=torch.float16)
        if self.path is None or not self.path.exists():
            return empty
        try:
            with safe_open(self.path, framework="pt") as file:
                logits = file.get_tensor("logits")
        except (SafetensorError, OSError):
            return empty
        return logits if logits.shape[1:] == empty.shape[1:] and logits.dtype == empty.dtype else empty
