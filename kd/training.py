"""The training loop that all three roles share.

The teacher and the baseline student minimise the cross-entropy with the labels, the distilled
student a distillation loss; nothing else depends on the role. For a given seed, the baseline and
the distilled student start from the same weights and see the same images in the same order under
the same augmentation and schedule.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kd import evaluation
from kd.augment import augment, draw, mixup
from kd.cifar10 import CLASSES, NORMALISATIONS, LabelledImages
from kd.losses import UNLABELLED, DistillationLoss, distillation_loss, hard_loss
from kd.optimizer import learning_rate_at, make_optimizer
from kd.processes import ALONE, Processes, autocast
from kd.progress import Progress
from kd.recipe import Recipe
from kd.teacher import Answers, FrozenTeacher
from kd.training_state import STATE, TrainingError, TrainingState


def train(
    network: nn.Module,
    training: LabelledImages,
    validation: LabelledImages,
    recipe: Recipe,
    output_dir: Path,
    *,
    teacher: FrozenTeacher | None = None,
    answers_dir: Path | None = None,
    compiled: bool = False,
    export: Callable[[nn.Module, list[dict]], None] = lambda network, history: None,
) -> list[dict]:
    """Train a network by a recipe, going on from the last epoch that `output_dir` holds.

    Args:
        network: on its device; its weights are changed in place.
        training: the images to train on, on the same device.
        validation: the images whose accuracy is recorded each epoch; they decide nothing.
        recipe: all hyper-parameters.
        output_dir: for training-state.pt, written atomically each epoch and removed at the end.
        teacher: for distillation, on the same device; without it the labels alone teach.
        answers_dir: keeps the teacher's answers for other students that are shown the same batches;
            what it holds already is read instead of asked.
        compiled: run the networks through torch.compile.
        export: called after each epoch, on the first process, with the network and the history.

    Returns:
        The history: a dict of measurements an epoch.

    Raises:
        TrainingError: the loss is no longer finite, the batch does not fit, or the disk is full.
    """
    processes = Processes.current()
    device = training.labels.device
    check_batch_size(recipe, len(training), processes)

    network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, recipe, device)
    state = TrainingState(network, optimizer, recipe)
    state.load(output_dir / STATE, device)
    history = state.history
    if history and processes.rank == 0:
        export(network, history)  # the interruption may have come between state and checkpoint
    learner = prepared(network, processes, device, compiled)
    if compiled and teacher:
        teacher.compile()

    for epoch in range(len(history), recipe.epochs):
        progress = Progress(recipe, epoch, len(training), hidden=processes.rank > 0)
        answers = open_answers(teacher, answers_dir, epoch, len(training) // recipe.batch_size * recipe.batch_size)
        measured = train_epoch(learner, training, recipe, epoch, optimizer, answers, progress)
        if processes.rank == 0:
            measured |= validate(network, validation, recipe, epoch)
        history.append(measured)
        progress.close(measured)
        try:
            if answers:
                answers.keep()
            if processes.rank == 0:
                state.save(output_dir / STATE)
                export(network, history)
        except OSError as error:
            raise TrainingError(
                f"epoch {epoch + 1} could not be written to {output_dir} ({error}). What was saved before is kept: "
                "make room and give the same command again to go on."
            ) from error
    if processes.rank == 0:
        (output_dir / STATE).unlink(missing_ok=True)
    return history


def prepared(network: nn.Module, processes: Processes, device: torch.device, compiled: bool) -> nn.Module:
    """The network as it learns: shared among the processes, and compiled, where asked."""
    learner = network
    if processes.count > 1:
        if device.type == "cuda":
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        learner = DistributedDataParallel(learner)
    return torch.compile(learner) if compiled else learner


def validate(network: nn.Module, validation: LabelledImages, recipe: Recipe, epoch: int) -> dict:
    """validation_accuracy and validation_loss (nats) after an epoch; raises TrainingError if the loss is not finite."""
    logits = evaluation.predict(network, validation.images, NORMALISATIONS[recipe.normalisation])
    metrics = evaluation.measure(logits, validation.labels.cpu())
    if not math.isfinite(metrics["nll"]):
        raise diverged("validation loss", metrics["nll"], epoch)
    return {"validation_accuracy": metrics["accuracy"], "validation_loss": metrics["nll"]}


def train_epoch(
    learner: nn.Module,
    training: LabelledImages,
    recipe: Recipe,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    answers: Answers | None,
    progress: Progress,
) -> dict:
    """One pass over the training images, learning from the teacher's answers to them where there are any.

    Returns:
        epoch (from 1), learning_rate (of the last step), loss, hard and soft (its terms before
        their weights; soft is null without a teacher), accuracy (on the augmented images that have
        a label, while learning), seconds, images_per_second.
    """
    started = time.perf_counter()
    processes, device = Processes.current(), training.labels.device
    precision = autocast(recipe.precision, device)
    torch.manual_seed(step_seed(recipe.seed, epoch, processes.rank))  # for dropout
    sums = torch.zeros(5, device=device)  # loss, hard and soft, each times images; right answers; labels
    images_seen = 0
    learner.train()
    for step, (images, targets) in enumerate(batches(training, recipe, epoch, processes)):
        learning_rate = learning_rate_at(epoch + (step + 0.5) * recipe.batch_size / len(training), recipe)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate

        with precision:
            logits = learner(images)
        teacher_logits = answers(images) if answers else None
        loss = loss_of(logits, teacher_logits, targets, recipe)

        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()

        classes = main_class(targets)
        right, labelled = (logits.argmax(dim=1) == classes).sum(), (classes != UNLABELLED).sum()
        sums += torch.stack([*(term.detach() * len(images) for term in loss), right, labelled])
        images_seen += len(images)
        if progress.due():
            progress.show(images_seen * processes.count, *finite(sums, images_seen, epoch)[[0, 3]].tolist())

    if processes.count > 1:
        distributed.all_reduce(sums)
        images_seen *= processes.count
    total, hard, soft, accuracy = finite(sums, images_seen, epoch).tolist()
    seconds = time.perf_counter() - started
    return {
        "epoch": epoch + 1,
        "learning_rate": learning_rate,
        "loss": total,
        "hard": hard,
        "soft": soft if answers else None,
        "accuracy": accuracy,
        "seconds": round(seconds, 3),
        "images_per_second": round(images_seen / seconds, 1),
    }


def open_answers(teacher: FrozenTeacher | None, folder: Path | None, epoch: int, images: int) -> Answers | None:
    """The teacher's answers to this process's share of an epoch of `images` images; None without a teacher."""
    if teacher is None:
        return None
    processes = Processes.current()
    name = f"epoch-{epoch + 1:03}-process-{processes.rank + 1}-of-{processes.count}.safetensors"
    return Answers(teacher, folder and folder / name, images // processes.count)


def loss_of(logits: Tensor, teacher_logits: Tensor | None, targets: Tensor, recipe: Recipe) -> DistillationLoss:
    """The one place where the baseline and the distilled student differ."""
    if teacher_logits is None:
        hard = hard_loss(logits, targets)
        return DistillationLoss(hard, hard, torch.zeros_like(hard))
    return distillation_loss(
        logits,
        teacher_logits,
        targets,
        loss=recipe.loss,
        temperature=recipe.temperature,
        soft_weight=recipe.soft_weight,
    )


def batches(
    training: LabelledImages, recipe: Recipe, epoch: int, processes: Processes = ALONE
) -> Iterator[tuple[Tensor, Tensor]]:
    """The augmented batches of an epoch, or a process's share of each.

    Order and augmentation follow from the recipe's seed and the epoch, and from nothing else: so a
    resumed run needs no generator's state, and the same seed shows every role the same batches.
    The images left over after the last whole batch wait for another epoch's order.

    Yields:
        Images, float32 (n, 3, H, W), normalised; and targets, int64 (n,), or with mixup float32
        (n, 10), the probability of each class.
    """
    random = np.random.default_rng([recipe.seed, epoch])
    order = torch.from_numpy(random.permutation(len(training))).to(training.labels.device)
    drawn = draw(len(training), recipe, random).to(training.labels.device)
    for start in range(0, len(order) - recipe.batch_size + 1, recipe.batch_size):
        rows = processes.share(slice(start, start + recipe.batch_size))
        batch, parameters = training[order[rows]], drawn[rows]
        images, targets = augment(batch.images, parameters, recipe), batch.labels
        if recipe.mixup:
            targets = F.one_hot(targets, len(CLASSES)).float()
            images, targets = mixup(images, targets, parameters.share)
        yield images, targets


def main_class(targets: Tensor) -> Tensor:
    """The class of each image, of a mixed one the larger part's; int64, (N,)."""
    return targets.argmax(dim=1) if targets.is_floating_point() else targets


def step_seed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for each run, epoch and process."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def check_batch_size(recipe: Recipe, images: int, processes: Processes) -> None:
    """Raise TrainingError unless every process gets an equal, non-empty share of a whole batch."""
    if recipe.batch_size > images:
        raise TrainingError(f"--batch-size {recipe.batch_size} is more than the {images} training images")
    if recipe.batch_size % processes.count:
        raise TrainingError(f"--batch-size {recipe.batch_size} is not divisible among {processes.count} processes")
    if recipe.batch_size == processes.count:
        raise TrainingError(f"--batch-size {recipe.batch_size} leaves one image a process: batch norm needs two")


def finite(sums: Tensor, images: int, epoch: int) -> Tensor:
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
