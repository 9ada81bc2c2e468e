"""The training loop that all three roles share.

The teacher and the student alone minimise the cross-entropy with the labels, the distilled
student a distillation loss; nothing else depends on the role. For a given seed, the student alone
and the distilled one start from the same weights and see the same images in the same order under
the same augmentation and schedule, at the same size of feature maps.

The file reads from top to bottom: the run, an epoch with its steps, what a step needs, the optimisers and their
schedule, what is said meanwhile, and what ends a run.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from kd import evaluation
from kd.augment import augment, draw
from kd.checkpoint import STATE, load_state, remove_state, save_state
from kd.dataset import LabelledImages, shuffled
from kd.device import ALONE, Processes, autocast
from kd.losses import UNLABELLED, DistillationLoss, distillation_loss, hard_loss
from kd.models import before_norms, downsample_early
from kd.recipe import Recipe
from kd.recording import Recorder
from kd.teacher import CachedLogits, FrozenTeacher, LogitsFile, MeanLogits, ReadLogits, Teachers

# The coefficients a, b, c of the quintic Newton-Schulz iteration (Jordan 2024,
# https://kellerjordan.github.io/posts/muon): steep at 0, so that few steps bring every singular value near 1.
QUINTIC = (3.4445, -4.7750, 2.0315)

# What an epoch at full size costs, in epochs with the early stride. Their multiplications are as 4 to 1; the time they
# take, by network and precision, is between 2 and 4 to 1.
FULL_SIZE_COST = 3


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why and what is left to do."""


def train(
    network: nn.Module,
    training: LabelledImages,
    validation: LabelledImages,
    recipe: Recipe,
    output_dir: Path,
    *,
    teacher: FrozenTeacher | Teachers | LogitsFile | None = None,
    logits_dir: Path | Sequence[Path | None] | None = None,
    precision: str = "float32",
    compiled: bool = False,
    recorder: Recorder | None = None,
    export: Callable[[nn.Module, list[dict]], None] = lambda network, history: None,
    run: dict | None = None,
) -> list[dict]:
    """Train a network by a recipe, going on from the last epoch that `output_dir` holds.

    Args:
        network: on its device; its weights are changed in place.
        training: the images to train on, on the same device.
        validation: the images whose accuracy is recorded each epoch; they decide nothing.
        recipe: all hyper-parameters.
        output_dir: for training-state.pt, written atomically each epoch and removed at the end.
        teacher: for distillation, on the same device; without it the labels alone teach.
        logits_dir: keeps the teacher's logits for other students that are shown the same views;
            what it holds already is read instead of asked. Of several teachers, a folder each.
        precision: what the network computes in, float32 or bfloat16; the recipe's own may be "auto".
        compiled: run the networks through torch.compile.
        recorder: keeps the network's logits of some images, often in the first epoch and after each one, on the first
            process.
        export: called after each epoch, on the first process, with the network and the history.
        run: what tells this run from others beside the recipe (`kd.checkpoint.identity`).

    Returns:
        The history: a dict of measurements an epoch.

    Raises:
        TrainingError: the loss is no longer finite, the batch does not fit, or the disk is full.
        CheckpointError: the state in `output_dir` is damaged or another run's.
    """
    processes = Processes.current()
    device = training.labels.device
    check_batch_size(recipe, len(training), processes)

    network.to(memory_format=torch.channels_last)
    optimizers = make_optimizers(network, recipe, device)
    history = load_state(output_dir / STATE, network, optimizers, recipe, run)
    if history and processes.rank == 0:
        export(network, history)  # the interruption may have come between state and checkpoint
    learner = prepared(network, processes, device, compiled)
    if compiled and teacher:
        teacher.compile()
    if processes.rank > 0:
        recorder = None
    elif recorder:
        recorder.begin(network, epochs_done=len(history), precision=precision)

    for epoch in range(len(history), recipe.epochs):
        # Not touched where the recipe asks for none: a network that somebody brings may have such a stride of its own.
        early = recipe.early_epochs > 0 and downsample_early(network, epoch < recipe.early_epochs)
        progress = Progress(recipe, history, len(training), hidden=processes.rank > 0)
        cached = teacher.logits_in(epoch, logits_dir) if teacher else None
        measured = train_epoch(
            learner, training, recipe, epoch, optimizers, cached, progress, precision=precision, recorder=recorder
        )
        measured |= {"early_downsampling": early, "precision": precision}
        if processes.rank == 0:
            measured |= validate(network, validation, recipe, epoch, precision)
        history.append(measured)
        progress.close(measured)
        if processes.rank == 0:
            lost = f"epoch {epoch + 1} could not be written to {output_dir}"
            with writing(lost, "What was saved before is kept: make room"):
                if recorder:
                    recorder.record(epoch + 1, measured["validation_accuracy"])
                save_state(output_dir / STATE, network, optimizers, recipe, history, run)
                export(network, history)
        if cached:
            lost = f"epoch {epoch + 1} is saved, but not the teacher's logits of it"
            with writing(lost, "Make room, or name another --teacher-logits,"):
                cached.keep()
    if processes.rank == 0:
        remove_state(output_dir)
    return history


def train_epoch(
    learner: nn.Module,
    training: LabelledImages,
    recipe: Recipe,
    epoch: int,
    optimizers: list[torch.optim.Optimizer],
    cached: CachedLogits | MeanLogits | ReadLogits | None,
    progress: "Progress",
    *,
    precision: str = "float32",
    recorder: Recorder | None = None,
) -> dict:
    """One pass over the training images, learning from the teacher's logits of them where there is a teacher.

    Returns:
        epoch (from 1), learning_rate (SGD's, of the last step), loss, hard and soft (its terms before
        their weights; soft is null without a teacher), accuracy (on the augmented images that have
        a label, while learning), seconds, images_per_second.
    """
    started = time.perf_counter()
    processes, device = Processes.current(), training.labels.device
    torch.manual_seed(epoch_seed(recipe.seed, epoch, processes.rank))  # for dropout
    sums = torch.zeros(5, device=device)  # loss, hard and soft, each times images; right predictions; labels
    images_done = 0
    learner.train()
    steps = len(training) // recipe.batch_size
    for step, (images, labels, index) in enumerate(batches(training, recipe, epoch, processes)):
        if recorder and recorder.due(epoch, step, steps):
            recorder.record(epoch + step / steps)
        # In the middle of the step: at its start the first step's rate would be 0.
        middle = epoch + (step + 0.5) * recipe.batch_size / len(training)
        share = schedule_at(middle, recipe)
        with autocast(precision, device):
            logits = learner(images)
        teacher_logits = cached(images, index) if cached else None
        loss = loss_of(logits, teacher_logits, labels, recipe)
        take_step(loss.total, optimizers, share)

        right, labelled = (logits.argmax(dim=1) == labels).sum(), (labels != UNLABELLED).sum()
        sums += torch.stack([*(term.detach() * len(images) for term in loss), right, labelled])
        images_done += len(images)
        if progress.due():
            loss_so_far, _, _, accuracy_so_far = means_of(sums, images_done, epoch).tolist()
            progress.show(images_done * processes.count, loss_so_far, accuracy_so_far)

    if processes.count > 1:
        distributed.all_reduce(sums)
        images_done *= processes.count
    total, hard, soft, accuracy = means_of(sums, images_done, epoch).tolist()
    seconds = time.perf_counter() - started
    return {
        "epoch": epoch + 1,
        "learning_rate": recipe.learning_rate * share,
        "loss": total,
        "hard": hard,
        "soft": soft if cached else None,
        "accuracy": accuracy,
        "seconds": round(seconds, 3),
        "images_per_second": round(images_done / seconds, 1),
    }


# What a step and an epoch need


def loss_of(logits: Tensor, teacher_logits: Tensor | None, labels: Tensor, recipe: Recipe) -> DistillationLoss:
    """The loss of a batch; without a teacher's logits the cross-entropy alone.

    The one place where the student alone and the distilled one differ.
    """
    if teacher_logits is None:
        hard = hard_loss(logits, labels)
        return DistillationLoss(hard, hard, torch.zeros_like(hard))
    return distillation_loss(
        logits,
        teacher_logits,
        labels,
        loss=recipe.loss,
        temperature=recipe.temperature,
        soft_weight=recipe.soft_weight,
    )


def batches(
    training: LabelledImages, recipe: Recipe, epoch: int, processes: Processes = ALONE
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The augmented batches of an epoch, or a process's share of each.

    The order follows from the recipe's seed and the epoch, what each image looks like from the augmentation
    seed, the epoch and the image: so a resumed run needs no generator's state, the same seed shows every role
    the same batches, and every seed shows the teacher the same views. The images left over after the last
    whole batch wait for another epoch's order.

    Yields:
        Images, float32 (n, 3, H, W), normalised; their labels, int64 (n,); and their indices, int64 (n,).
    """
    random = np.random.default_rng([recipe.seed, epoch])
    order = torch.from_numpy(shuffled(training, random)).to(training.labels.device)
    drawn = draw(training.index, epoch, recipe, training.images.shape[-1]).to(training.labels.device)
    for start in range(0, len(order) - recipe.batch_size + 1, recipe.batch_size):
        rows = order[processes.share(slice(start, start + recipe.batch_size))]
        batch = training[rows]
        yield augment(batch.images, drawn[rows], recipe, recipe.constants(training)), batch.labels, batch.index


def take_step(loss: Tensor, optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Move the weights down the gradients of a loss, at a share of the peak learning rates."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for each run, epoch and process."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def prepared(network: nn.Module, processes: Processes, device: torch.device, compiled: bool) -> nn.Module:
    """The network as it learns: shared among the processes, and compiled, where asked."""
    learner = network
    if processes.count > 1:
        if device.type == "cuda":  # SyncBatchNorm is for GPUs alone
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        learner = DistributedDataParallel(learner)
    return torch.compile(learner) if compiled else learner


def validate(network: nn.Module, validation: LabelledImages, recipe: Recipe, epoch: int, precision: str) -> dict:
    """validation_accuracy and validation_loss (nats) after an epoch, at the size it was trained at.

    Raises:
        TrainingError: the loss is not finite.
    """
    logits = evaluation.predict(network, validation.images, recipe.constants(validation), precision=precision)
    labels = validation.labels.cpu()
    loss = evaluation.negative_log_likelihood(logits, labels)
    if not math.isfinite(loss):
        raise diverged("validation loss", loss, epoch)
    return {"validation_accuracy": evaluation.accuracy(logits, labels), "validation_loss": loss}


# The optimisers and their schedule


def make_optimizers(network: nn.Module, recipe: Recipe, device: torch.device) -> list[torch.optim.Optimizer]:
    """The optimisers of a recipe: SGD, and with "muon" Muon for most convolutions.

    Muon sets the size of a weight, which is harmless where a batch norm follows. Of these convolutions it takes those
    with more than three input channels a group: neither the one that sees the pixels nor depthwise ones. Norm layers
    and biases have no weight decay. Each group keeps its peak rate in `initial_lr`.
    """
    by_muon = []
    if recipe.optimizer == "muon":
        normed = {id(getattr(part, name)) for part, name, _ in before_norms(network)}
        # In the order of `modules`, by which a stored state is read again.
        by_muon = [module.weight for module in network.modules() if id(module) in normed and module.weight.shape[1] > 3]
    taken = {id(weight) for weight in by_muon}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in taken]
    decayed = [parameter for parameter in rest if parameter.ndim > 1]
    others = [parameter for parameter in rest if parameter.ndim <= 1]
    sgd = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        fused=device.type == "cuda",
    )
    optimizers = [sgd]
    if by_muon:
        optimizers.append(Muon(by_muon, recipe.muon_learning_rate, recipe.muon_momentum))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal (Jordan 2024, https://kellerjordan.github.io/posts/muon).

    A convolution counts as a matrix with a row an output channel. As in cifar10-airbench, each weight is first scaled
    to the norm sqrt(output channels): the batch norm behind it makes its size meaningless, and a fixed one gives the
    learning rate a fixed meaning. PyTorch's own Muon takes matrices alone, and does not rescale.

    Args:
        params: weights of two or more dimensions, each followed by a norm layer.
        lr: learning rate, per step.
        momentum: of the gradients, Nesterov's, 0 to 1.
        steps: of the Newton-Schulz iteration.
    """

    def __init__(self, params, lr: float, momentum: float, steps: int = 3) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Take one step along the gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(buffer, alpha=group["momentum"])
                direction = orthogonalised(update.flatten(1), group["steps"]).view(weight.shape)
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-12))
                weight.add_(direction, alpha=-group["lr"])


def orthogonalised(matrix: Tensor, steps: int) -> Tensor:
    """About U V' of a matrix's singular value decomposition U S V', float32, shaped like the matrix.

    A Newton-Schulz step X <- a X + (b A + c A^2) X with A = X X' leaves the singular vectors of X, and makes of every
    singular value s the value a s + b s^3 + c s^5.

    Args:
        matrix: (M, N).
        steps: of the iteration; after three, singular values over .02 of the matrix's norm lie between .68 and 1.21.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.float().T if tall else matrix.float()  # so that A is the smaller of both squares
    x = x / (x.norm() + 1e-7)  # no singular value above 1
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def schedule_at(epochs: float, recipe: Recipe) -> float:
    """The share of the peak learning rate, 0 to 1.

    Linear warm-up from 0, then a line to 0 or a cosine (Loshchilov 2017, arXiv 1608.03983, without restarts).

    Args:
        epochs: passes over the data so far, a fraction within an epoch.
    """
    done = epochs / recipe.epochs
    if done < recipe.warmup:
        return done / recipe.warmup
    left = (1 - done) / (1 - recipe.warmup)
    return left if recipe.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))


# What a run says of itself


class Progress:
    """A bar with loss, accuracy, images/s and the time left in the whole run, and a line when an epoch is done."""

    def __init__(self, recipe: Recipe, history: list[dict], images: int, hidden: bool) -> None:
        """Begin the epoch after those of `history`, of `images` images in all."""
        self.recipe, self.epoch, self.hidden = recipe, len(history), hidden
        self.title = f"epoch {self.epoch + 1}/{recipe.epochs}"
        self.before = f"{history[-1]['validation_accuracy']:.1%}" if history and not hidden else "none yet"
        self.bar = tqdm(
            total=images // recipe.batch_size * recipe.batch_size,
            desc=self.title,
            unit="img",
            leave=False,
            disable=True if hidden else None,  # None: only on a terminal
        )
        self.started = self.last = time.perf_counter()

    def due(self) -> bool:
        """Whether to look at the loss now: about twice a second, since a look makes a GPU wait."""
        now = time.perf_counter()
        if now - self.last < 0.5:
            return False
        self.last = now
        return True

    def show(self, images: int, loss: float, accuracy: float) -> None:
        """Move the bar to `images`, with the loss and the accuracy (0 to 1) of the epoch so far."""
        done = images / self.bar.total if self.bar.total else 1
        a_unit = (time.perf_counter() - self.started) / (done * epoch_cost(self.recipe, self.epoch))
        seconds = a_unit * cost_left(self.recipe, self.epoch + done)
        self.bar.set_postfix_str(
            f"loss {loss:.3f}, accuracy {accuracy:.1%}, validation {self.before}, run done in {duration(seconds)}",
            refresh=False,
        )
        self.bar.update(images - self.bar.n)

    def close(self, measured: dict) -> None:
        """Take the bar away and print the epoch's measurements as one line."""
        self.bar.close()
        if self.hidden:
            return
        done = self.epoch + 1
        a_unit = measured["seconds"] / epoch_cost(self.recipe, self.epoch)
        left = duration(a_unit * cost_left(self.recipe, done)) if done < self.recipe.epochs else "nothing"
        tqdm.write(
            f"{self.title}: loss {measured['loss']:.4f}, accuracy {measured['accuracy']:.2%}, "
            f"validation accuracy {measured['validation_accuracy']:.2%}, "
            f"{measured['images_per_second']:,.0f} images/s, {measured['seconds']:.0f} s, {left} to go"
        )
        sys.stdout.flush()  # into a file it would wait for the end of the run


def epoch_cost(recipe: Recipe, epoch: int) -> int:
    """What an epoch (from 0) costs, in epochs with the early stride."""
    return 1 if epoch < recipe.early_epochs else FULL_SIZE_COST


def cost_left(recipe: Recipe, epochs_done: float) -> float:
    """What the rest of a run costs, in epochs with the early stride.

    Args:
        epochs_done: passes over the data so far, a fraction within an epoch.
    """
    early = max(recipe.early_epochs - epochs_done, 0)
    return early + FULL_SIZE_COST * (recipe.epochs - epochs_done - early)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as people read them: 3:07:00."""
    return str(timedelta(seconds=round(seconds)))


# What ends a run


@contextmanager
def writing(lost: str, way_out: str) -> Iterator[None]:
    """End the run with sentences where what is written inside cannot be: what is lost, and what to do."""
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{lost} ({error}). {way_out} and give the same command again (without --restart) to go on."
        ) from error


def check_batch_size(recipe: Recipe, images: int, processes: Processes) -> None:
    """Raise TrainingError unless every process gets an equal, non-empty share of a whole batch."""
    if recipe.batch_size > images:
        raise TrainingError(f"--batch-size {recipe.batch_size} is more than the {images} training images")
    if recipe.batch_size % processes.count:
        raise TrainingError(f"--batch-size {recipe.batch_size} is not divisible among {processes.count} processes")
    if recipe.batch_size == processes.count:
        raise TrainingError(f"--batch-size {recipe.batch_size} leaves one image a process: batch norm needs two")


def means_of(sums: Tensor, images: int, epoch: int) -> Tensor:
    """Loss, hard, soft and accuracy of an epoch so far; raises TrainingError where the loss has blown up."""
    *losses, right, labelled = sums.cpu().double()
    means = torch.stack([*(loss / images for loss in losses), right / labelled.clamp(min=1)])
    if not means.isfinite().all():
        raise diverged("loss", means[0].item(), epoch)
    return means


def diverged(what: str, value: float, epoch: int) -> TrainingError:
    """The error of a run that has blown up."""
    return TrainingError(
        f"the {what} became {value} in epoch {epoch + 1}; what was saved before is kept. "
        "Start again with a lower --learning-rate or a longer --warmup (and --restart)."
    )
