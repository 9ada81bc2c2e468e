"""Measure how fast the networks train, beside the plain loop that most projects write.

python -m train.benchmark --recipe original            prints a table and writes checkpoints/benchmark.json
python -m train.benchmark --recipe original --document docs/training.md
                                               puts the table between that file's markers too

The plain loop reads Pillow images through a DataLoader with a worker a core, augments them by torchvision's
transforms and trains in float32, eagerly. Both loops train the same networks on the same images with the same batch
size, in turns, in one run on one machine; each network's figures are medians over the rounds. It wants an idle machine.
"""

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from kd import models
from kd.augment import BLUR_SIGMAS
from kd.data_dir import open_data, recipe_defaults
from kd.dataset import DataError, LabelledImages
from kd.device import DeviceError, chosen_precision, machine, matmul_seconds, process_device
from kd.files import write_json
from kd.losses import distillation_loss
from kd.recipe import RECIPES, Recipe, RecipeError
from kd.tables import markdown_table
from kd.teacher import CachedLogits, FrozenTeacher
from kd.training import Progress, make_optimizers, train_epoch
from train.document import write_section
from train.options import add_data_dir, add_device, add_document, add_output_dir, add_recipe, positive

BENCHMARK = "benchmark.json"
WARM_UP_STEPS = 2
MATMUL_SIDE, MATMUL_RUNS = {"cpu": 2048, "cuda": 8192}, 10
FORWARD_AND_BACKWARD = 3  # the backward pass costs about two forward passes


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.benchmark", description=__doc__.splitlines()[0])
    add_recipe(parser)
    parser.add_argument("--images", type=positive, metavar="N", help="images a round (45,000 on a GPU, 2,048 on a CPU)")
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="rounds of each loop, in turns (3)")
    parser.add_argument("--workers", type=int, default=torch.get_num_threads(), metavar="N",
                        help="the plain loop's DataLoader workers (one a core)")  # fmt: skip
    parser.add_argument("--eager", action="store_true", help="leave out torch.compile")
    add_data_dir(parser)
    add_output_dir(parser, "checkpoints", f"folder for {BENCHMARK}")
    add_document(parser)
    add_device(parser)
    options = parser.parse_args(arguments)
    try:
        device = process_device(options.device)
        image_size = RECIPES[options.recipe]["teacher"].image_size
        training, _ = open_data(options.data_dir, image_size).split()
        images = options.images or (45_000 if device.type == "cuda" else 2_048)
        found = benchmark(training[: min(images, len(training))], options, device)
        found["command"] = "python -m train.benchmark " + shlex.join(sys.argv[1:] if arguments is None else arguments)
        write_json(options.output_dir / BENCHMARK, found)
        if options.document:
            write_section(options.document, "benchmark", benchmark_table(found))
    except (DataError, DeviceError, RecipeError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(benchmark_table(found), end="")


def benchmark(training: LabelledImages, options: argparse.Namespace, device: torch.device) -> dict:
    """Time the project's loop, compiled and not, and the plain one, for each of the three roles.

    Returns:
        The content of benchmark.json: machine, versions, recipe, images, rounds, each role's batch size in
        "batch_sizes", the operations a second that a large matrix product reaches in the faster precision, which
        precision that is, and for each role in "roles" images_per_second of "ours", "compiled" and "plain", the ratio
        of the best of ours to plain, the share of the matrix product's speed, and on a GPU the peak memory in bytes,
        with what the role's other loops hold.
    """
    matmul_precision = chosen_precision("auto", device, "cifar")
    peak = matmul_operations_per_second(device, matmul_precision)
    recipes = {
        role: recipe.changed(**recipe_defaults(options.data_dir), batch_size=min(recipe.batch_size, len(training)))
        for role, recipe in RECIPES[options.recipe].items()
    }
    roles = {}
    for role in models.ROLES:
        loops = {
            "ours": our_loop(role, training, recipes, device, compiled=False),
            "plain": plain_loop(role, training, recipes, device, options.workers),
        }
        if not options.eager:
            loops["compiled"] = our_loop(role, training, recipes, device, compiled=True)
        medians, memory = timed(loops, options.rounds, device)
        best = max(medians["ours"], medians.get("compiled", 0))
        roles[role] = {
            "images_per_second": medians,
            "ratio": round(best / medians["plain"], 2),
            "share_of_matmul": round(best * operations_an_image(role, recipes, len(training.classes)) / peak, 4),
            "peak_bytes": memory,
        }
    return {
        "recipe": options.recipe,
        "images": len(training),
        "rounds": options.rounds,
        "batch_sizes": {role: recipe.batch_size for role, recipe in recipes.items()},
        "workers": options.workers,
        "matmul_operations_per_second": peak,
        "matmul_precision": matmul_precision,
        "roles": roles,
        "machine": machine(device),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__},
    }


def timed(
    loops: dict[str, Iterator[float]], rounds: int, device: torch.device
) -> tuple[dict[str, float], dict[str, int | None]]:
    """Run the loops in turns.

    Returns:
        By the loop's name: the median of its images a second, and on a GPU the peak memory of its last round, in bytes.
    """
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    memory = dict.fromkeys(loops)
    for _ in range(rounds):
        for name, loop in loops.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            speeds[name].append(next(loop))
            memory[name] = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {name: round(statistics.median(values), 1) for name, values in speeds.items()}, memory


def our_loop(
    role: str, training: LabelledImages, recipes: Mapping[str, Recipe], device: torch.device, compiled: bool
) -> Iterator[float]:
    """Images a second of one epoch of the project's loop, again and again, after a warm-up."""
    training, recipe = training.to(device), recipes[role]
    network = build(role, recipe, training, device).to(memory_format=torch.channels_last)
    teacher = None
    if role == "distilled":
        teachers = recipes["teacher"]
        network_of_teacher = build("teacher", teachers, training, device).to(memory_format=torch.channels_last)
        models.fuse_norms(network_of_teacher.eval(), teachers.architecture("teacher"))  # as `read_teacher` does
        precision_of_teacher = chosen_precision(teachers.precision, device, teachers.stem)
        teacher = FrozenTeacher(network_of_teacher, precision_of_teacher, len(training.classes))
    optimizers = make_optimizers(network, recipe, device)
    precision = chosen_precision(recipe.precision, device, recipe.stem)
    if compiled:
        network = torch.compile(network)
        if teacher:
            teacher.compile()

    def epoch(images: LabelledImages) -> float:
        cached = CachedLogits(teacher, None) if teacher else None
        progress = Progress(recipe, [], len(images), hidden=True)
        measured = train_epoch(network, images, recipe, 0, optimizers, cached, progress, precision=precision)
        return measured["images_per_second"]

    epoch(training[: WARM_UP_STEPS * recipe.batch_size])
    while True:
        yield epoch(training)


def plain_loop(
    role: str, training: LabelledImages, recipes: Mapping[str, Recipe], device: torch.device, workers: int
) -> Iterator[float]:
    """Images a second of one epoch of the loop that most projects write, again and again, after a warm-up."""
    recipe = recipes[role]
    network = build(role, recipe, training, device).train()
    teacher = build("teacher", recipes["teacher"], training, device).eval() if role == "distilled" else None
    optimizer = torch.optim.SGD(network.parameters(), lr=recipe.learning_rate, momentum=0.9, nesterov=True)

    def epoch(images: LabelledImages) -> float:
        loader = DataLoader(
            PillowImages(images, recipe), recipe.batch_size, shuffle=True, drop_last=True,
            num_workers=workers, pin_memory=device.type == "cuda",
        )  # fmt: skip
        started, images_done = time.perf_counter(), 0
        for batch, labels in loader:
            batch, labels = batch.to(device), labels.to(device)
            loss = plain_loss(network(batch), batch, labels, teacher, recipe)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            images_done += len(batch)
            loss.item()  # which nearly every such loop prints
        return images_done / (time.perf_counter() - started)

    epoch(training[: WARM_UP_STEPS * recipe.batch_size])
    while True:
        yield epoch(training)


def plain_loss(logits: Tensor, images: Tensor, labels: Tensor, teacher: nn.Module | None, recipe: Recipe) -> Tensor:
    """The loss of a batch: cross-entropy, or distillation from the teacher."""
    if teacher is None:
        return F.cross_entropy(logits, labels)
    with torch.no_grad():
        teacher_logits = teacher(images)
    return distillation_loss(
        logits, teacher_logits, labels, temperature=recipe.temperature, soft_weight=recipe.soft_weight
    ).total


class PillowImages(Dataset):
    """Images as torchvision's CIFAR10 gives them, with the recipe's augmentation in torchvision's transforms."""

    def __init__(self, images: LabelledImages, recipe: Recipe) -> None:
        self.pixels, self.labels = images.images.permute(0, 2, 3, 1).numpy(), images.labels
        steps: list = [
            transforms.RandomCrop(recipe.image_size, padding=recipe.crop_padding, padding_mode=recipe.padding_mode),
            transforms.RandomHorizontalFlip(recipe.flip),
        ]
        if recipe.rotation:
            steps.append(transforms.RandomRotation(recipe.rotation, transforms.InterpolationMode.BILINEAR))
        if recipe.crop_scale < 1:
            steps.append(transforms.RandomResizedCrop(recipe.image_size, (recipe.crop_scale, 1), (1, 1)))
        if recipe.brightness or recipe.contrast or recipe.saturation:
            steps.append(transforms.ColorJitter(recipe.brightness, recipe.contrast, recipe.saturation))
        if recipe.blur:
            steps.append(transforms.RandomApply([transforms.GaussianBlur(5, BLUR_SIGMAS)], recipe.blur))
        steps += [transforms.ToTensor(), transforms.Normalize(*recipe.constants(images))]
        if recipe.cutout:
            share = (recipe.cutout / recipe.image_size) ** 2
            steps.append(transforms.RandomErasing(1.0, (share, share), (1, 1)))
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def build(role: str, recipe: Recipe, images: LabelledImages, device: torch.device) -> nn.Module:
    """A network of a role with random weights; speed does not depend on them."""
    classes = len(images.classes)
    return models.build(recipe.architecture(role), recipe.stem, classes, recipe.dropout).to(device)


def operations_an_image(role: str, recipes: Mapping[str, Recipe], classes: int) -> float:
    """Floating-point operations to train on one image; a multiply-accumulate is two."""

    def macs(of: str) -> int:
        recipe = recipes[of]
        return models.count_macs(recipe.architecture(of), recipe.stem, classes=classes, image_size=recipe.image_size)

    return 2 * (FORWARD_AND_BACKWARD * macs(role) + (macs("teacher") if role == "distilled" else 0))


def matmul_operations_per_second(device: torch.device, precision: str) -> float:
    """What a large square matrix product reaches on this device: the bound no network comes near."""
    side = MATMUL_SIDE.get(device.type, 2048)
    return 2 * side**3 / matmul_seconds(device, getattr(torch, precision), side, MATMUL_RUNS)


def benchmark_table(found: dict) -> str:
    """The benchmark as a Markdown table, with a line that says how it was measured."""
    headings = [
        "network", "ours, images/s", "ours, compiled", "plain loop", "best of ours / plain",
        "share of a matrix product",
    ]  # fmt: skip
    rows = []
    for role, measured in found["roles"].items():
        speed = measured["images_per_second"]
        rows.append(
            [
                models.ROLE_NAMES[role],
                *(f"{speed[name]:,.0f}" if name in speed else "" for name in ("ours", "compiled", "plain")),
                f"{measured['ratio']:.1f} x",
                f"{measured['share_of_matmul']:.1%}",
            ]
        )
        if measured["peak_bytes"]["ours"]:
            rows[-1][0] += f" ({max(measured['peak_bytes'].values()) / 2**30:.1f} GiB)"
    tflops = found["matmul_operations_per_second"] / 1e12
    precision = found.get("matmul_precision", "bfloat16")  # results that do not say were measured in that
    sizes = sorted(set(found.get("batch_sizes", {}).values()))
    batches = f", batches of {' and '.join(map(str, sizes))}" if sizes else ""
    # Results that do not say were measured by this one.
    options = " ".join(f"--{name} {found[name]}" for name in ("recipe", "images", "rounds"))
    command = found.get("command", f"python -m train.benchmark {options}")
    return f"""{markdown_table(headings, rows)}

Recipe `{found["recipe"]}`{batches}, {found["images"]:,} images a round, median of {found["rounds"]} rounds in turns,
{found["machine"]}, torch {found["versions"]["torch"]}. The plain loop is float32, torchvision's transforms and a
DataLoader with {found["workers"]} workers; the matrix product is {precision}, {tflops:.2f} Tflop/s here.
`{command}`
"""


if __name__ == "__main__":
    main()
