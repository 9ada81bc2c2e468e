"""The teacher as a student asks it: frozen, and asked about each view of an image once; or several, or a file.

Whatever teaches has `logits_in(epoch, folder)`, which returns a function from images and their indices to logits, with
`keep` to end the epoch.

How an image looks in an epoch follows from the augmentation seed, the epoch and the image's index (see `kd.augment`),
not from the run. The teacher's logits are therefore kept by epoch and index, and serve every seed, loss, temperature
and subset of the images that comes later.
"""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kd.checkpoint import CheckpointError
from kd.dataset import COPY, Normalisation
from kd.device import Processes, autocast
from kd.files import write_atomically

HALF_MAX = torch.finfo(torch.float16).max


class FrozenTeacher(nn.Module):
    """A network for inference alone: no gradients, and evaluation mode whatever `train()` is called."""

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
        self.scale = self.shift = self.size = None
        self.eval()

    def adapt_views(self, shown: Normalisation, own: Normalisation, size: int) -> None:
        """From now on, turn a student's views into what this teacher's own training would have shown.

        Args:
            shown: what the student's views are normalised by.
            own: what the teacher's training images were normalised by.
            size: the side of those, pixels; views of another size are scaled.
        """
        self.size = size
        if tuple(map(tuple, shown)) != tuple(map(tuple, own)):
            mean, std, own_mean, own_std = (torch.tensor(each).view(3, 1, 1) for each in (*shown, *own))
            # (view x std + mean - own mean) / own std: back to pixels, and normalised anew
            self.scale, self.shift = std / own_std, (mean - own_mean) / own_std

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in evaluation mode: in training mode the batch-norm statistics would drift."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The logits, float32, (N, K), of normalised images, (N, 3, H, W)."""
        if self.scale is not None:
            images = images * self.scale.to(images.device) + self.shift.to(images.device)
        if self.size not in (None, images.shape[-1]):
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", antialias=True)
        with autocast(self.precision, images.device):
            return self.network(images).float()

    def logits_in(self, epoch: int, folder: Path | None) -> "CachedLogits":
        """Its logits of an epoch's views (from 0), kept in `folder`; None keeps nothing."""
        return CachedLogits(self, folder and folder / f"epoch-{epoch + 1:03}.safetensors")


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
            meanwhile = self._read()  # other runs ask about other images, and write the same file
            self._make_room(len(meanwhile))
            own = self.logits[: len(meanwhile)]
            own[:] = torch.where(own.isnan(), meanwhile, own)
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


def mean_of_softened(logits: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """Logits whose softmax at T is the weighted mean of the teachers' (Hinton 2015, arXiv 1503.02531, section 1).

    T log sum_i w_i softmax(z_i / T): exact at this T, and at no other.

    Args:
        logits: of each teacher, (N, K).
        weights: of each teacher, together 1.

    Returns:
        (N, K).
    """
    softened = [F.log_softmax(each / temperature, dim=1) + math.log(weight)
                for each, weight in zip(logits, weights, strict=True)]  # fmt: skip
    return temperature * torch.stack(softened).logsumexp(dim=0)


class Teachers(nn.Module):
    """Several teachers as one, whose softened probabilities are the mean of theirs."""

    def __init__(self, teachers: Sequence[nn.Module], temperature: float, weights: Sequence[float]) -> None:
        """Put teachers together.

        Args:
            teachers: of the same classes.
            temperature: the T at which the student learns from them.
            weights: of each, positive; they are scaled to be 1 together.
        """
        super().__init__()
        self.teachers = nn.ModuleList(teachers)
        self.temperature, self.weights = temperature, [weight / sum(weights) for weight in weights]

    def compile(self, *arguments: object, **keywords: object) -> None:
        """Compile each teacher: they are asked one by one."""
        for teacher in self.teachers:
            teacher.compile(*arguments, **keywords)

    def logits_in(self, epoch: int, folder: Sequence[Path | None] | None) -> "MeanLogits":
        """Their logits of an epoch's views (from 0), each teacher's own kept in a folder of its own."""
        folders = folder or [None] * len(self.teachers)
        return MeanLogits([each.logits_in(epoch, own) for each, own in zip(self.teachers, folders, strict=True)], self)


class MeanLogits:
    """The logits of several teachers, put together when they are asked for."""

    def __init__(self, asked: list, teachers: Teachers) -> None:
        self.asked, self.teachers = asked, teachers

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """As of `CachedLogits`."""
        logits = [ask(images, index) for ask in self.asked]
        return mean_of_softened(logits, self.teachers.weights, self.teachers.temperature)

    def keep(self) -> None:
        """As of `CachedLogits`."""
        for ask in self.asked:
            ask.keep()


class LogitsFile(nn.Module):
    """A teacher that is only a file of logits: no network needed.

    The file is `.safetensors` with a tensor "logits", or `.npy`: (images, K), a row for each image of the training set
    by its index, or (views, images, K), where epoch e takes view e mod views. Which view of an image a row was computed
    of is the file's business.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            CheckpointError: it holds no logits.
        """
        super().__init__()
        try:
            if path.suffix == ".npy":
                with warnings.catch_warnings(action="ignore"):  # PyTorch warns that it cannot be written to
                    logits = torch.from_numpy(np.load(path, mmap_mode="r", allow_pickle=False))
            else:
                with safe_open(path, framework="pt") as file:
                    logits = file.get_tensor("logits")
        except (EOFError, OSError, ValueError, TypeError, SafetensorError) as error:
            raise CheckpointError(f"{path} holds no logits ({error}): give a .safetensors or .npy file") from error
        fits = logits.ndim in (2, 3) and logits.is_floating_point() and logits.numel()
        if not fits or not torch.stack(logits.aminmax()).isfinite().all():  # `logits.isfinite()` would copy them
            raise CheckpointError(
                f"{path} holds {logits.dtype} {tuple(logits.shape)} or numbers that are not finite, instead of logits, "
                "(images, classes) or (views, images, classes)"
            )
        self.logits = logits if logits.ndim == 3 else logits[None]
        self.classes, self.images = self.logits.shape[2], self.logits.shape[1]

    def logits_in(self, epoch: int, folder: object) -> "ReadLogits":
        """Its logits in an epoch (from 0); nothing is kept, since they lie in the file."""
        return ReadLogits(self.logits[epoch % len(self.logits)])


class ReadLogits:
    """Logits, (images, K), by the image's index."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """As of `CachedLogits`; a further copy of an image has the row of the first."""
        return self.logits[index.cpu() % COPY].to(images.device).float()

    def keep(self) -> None:
        """Nothing is new."""
