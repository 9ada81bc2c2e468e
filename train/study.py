"""Carry out a study: train all its runs, measure them once, and write what came out.

python -m train.study main                                    five seeds of the recipe `strong`
python -m train.study main --recipe original --seeds 3 --jobs 2   the same on a CPU, two runs side by side
python -m train.study main --document docs/studies.md         puts the table between that file's markers too

Every run is a command of its own (`train.teacher`, `train.student`, `train.distill`) with a folder of its own, which
studies share: what is finished is not trained again, and what was cut off goes on from its last epoch.
"""

import argparse
import fnmatch
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from kd import checkpoint, models
from kd.checkpoint import CheckpointError
from kd.cifar10 import DataError
from kd.processes import DeviceError, process_device
from kd.progress import cost_left, duration
from kd.recipe import RECIPES, Recipe, RecipeError, from_config, option_name
from kd.studies import STUDIES_FOLDER, read_study, study_table
from train.document import write_section
from train.halve import halve
from train.studies import STUDIES, Arm, Run, Study
from train.summary import recorded, summarise, teacher_of

MODULES = {"teacher": "train.teacher", "student": "train.student", "distilled": "train.distill"}
POLL_SECONDS = 0.2
SHIPPED_SEED = 0  # fixed beforehand: no run is chosen


class StudyError(RuntimeError):
    """The study cannot be carried out or is not complete; the message says what is missing and the way on."""


def main(arguments: list[str] | None = None) -> None:
    options = make_parser().parse_args(arguments)
    # Ended from outside (a time limit, a shutdown), the study ends its runs too, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = STUDIES[options.study]
    try:
        device = process_device(options.device)
        runs = plan(study, options)
        if options.ship:
            check_shipping(runs)
        path = options.output_dir / f"{options.study}.json"
        ledger = read_study(path) if path.exists() and not options.afresh else None
        check_nothing_is_lost(runs, ledger, path)
        command = "python -m train.study " + shlex.join(sys.argv[1:] if arguments is None else arguments)
        missing = to_train(runs, study, ledger)
        print(f"{len(runs)} runs, {len(runs) - len(missing)} of them in {path}", flush=True)

        def measure() -> dict:
            """Write down what is done: should the machine be lost, the file is enough to go on with."""
            nonlocal ledger
            done = [run for run in runs if run not in missing or is_finished(run)]
            ledger = summarise(options.study, study, done, options.data_dir, device, options.cifar10h, ledger)
            ledger["command"] = command
            checkpoint.write_json(path, ledger)
            if options.ship:
                ship(done, options)
            return ledger

        train_all(missing, options, after_each=lambda: study.analysis == "human-doubt" or measure())
        summary = measure()
        table = study_table(summary)
        if options.document:
            write_section(options.document, f"study {options.study}", table)
    except (StudyError, CheckpointError, DataError, DeviceError, RecipeError, OSError) as error:
        sys.exit(f"python -m train.study: {error}")
    except KeyboardInterrupt:
        sys.exit("python -m train.study: interrupted; the same command goes on from each run's last finished epoch")
    print(table, end="")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.study",
        description="Train, measure and compare the runs of a study.",
        epilog="An interrupted study given the same command goes on where it was cut off.",
    )
    parser.add_argument(
        "study", choices=STUDIES, help="; ".join(f"{name}: {s.question}" for name, s in STUDIES.items())
    )
    parser.add_argument("--recipe", choices=RECIPES, help="named preset (the study's own)")
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each arm (the study's own number)")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the images, for all arms (the recipe's)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images a step, for all arms (the recipe's)")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="peak, for all arms (the recipe's)")
    parser.add_argument("--warmup", type=float, metavar="X",
                        help="share of the run for warm-up, for all arms (the recipe's)")  # fmt: skip
    parser.add_argument("--teacher-precision", metavar="NAME",
                        help="what the teachers it trains compute in: on a CPU ResNet-50 is faster in bfloat16, "
                        "MobileNetV2 is not (the recipe's)")  # fmt: skip
    parser.add_argument("--arms", nargs="+", metavar="NAME",
                        help="only these arms, * standing for any text; the others are listed as not run")  # fmt: skip
    parser.add_argument("--teacher", type=Path, metavar="DIR", help="take the arm `teacher` from this checkpoint")
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="runs side by side, which share the CPU's cores or the GPU (1)")  # fmt: skip
    parser.add_argument("--data-dir", type=Path, default=Path("data"), metavar="DIR",
                        help="folder with cifar-10-batches-py in it, or to download it to (data)")  # fmt: skip
    parser.add_argument("--cifar10h", type=Path, metavar="FILE",
                        help="cifar10h-counts.npy, which the study human-doubt measures by")  # fmt: skip
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR",
                        help="folder of the runs' checkpoints and logs (runs)")  # fmt: skip
    parser.add_argument("--output-dir", type=Path, default=Path("checkpoints") / STUDIES_FOLDER, metavar="DIR",
                        help=f"folder of the summaries (checkpoints/{STUDIES_FOLDER})")  # fmt: skip
    parser.add_argument("--afresh", action="store_true",
                        help="measure all runs anew, also those that the study's JSON holds")  # fmt: skip
    parser.add_argument("--ship", type=Path, metavar="DIR",
                        help=f"record each role's run of seed {SHIPPED_SEED} and store it there, in float16 where "
                        "accuracy allows")  # fmt: skip
    parser.add_argument(
        "--document", "--readme", type=Path, metavar="FILE", help="write the table between this file's markers"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (auto: a GPU where there is one)")
    parser.add_argument("--compile", action="store_true", help="run the networks through torch.compile")
    return parser


def plan(study: Study, options: argparse.Namespace) -> list[Run]:
    """The runs of a study, teachers first.

    Raises:
        RecipeError: an option is out of its range.
        StudyError: there is no such arm, or an arm's teacher is left out.
    """
    if study.analysis == "human-doubt" and not options.cifar10h:
        raise StudyError("this study compares with people: give CIFAR-10H's cifar10h-counts.npy with --cifar10h")
    names = [arm.name for arm in study.arms]
    wanted = options.arms or ["*"]
    if unknown := [pattern for pattern in wanted if not fnmatch.filter(names, pattern)]:
        raise StudyError(f"the study has no arm {unknown[0]!r}: choose from {', '.join(map(repr, names))}")
    runs: list[Run] = []
    for arm in study.arms:
        if not any(fnmatch.fnmatch(arm.name, pattern) for pattern in wanted):
            continue
        teacher = None
        if arm.teacher:
            taught_by = [run for run in runs if run.arm.name == arm.teacher]
            if not taught_by:
                raise StudyError(f"the arm {arm.name!r} needs its teacher: add {arm.teacher!r} to --arms")
            teacher = taught_by[0].folder
        for seed in range(arm.seeds or options.seeds or study.seeds):
            runs.append(plan_run(arm, seed, teacher, options.recipe or study.recipe, options))
    return runs


def plan_run(arm: Arm, seed: int, teacher: Path | None, recipe_name: str, options: argparse.Namespace) -> Run:
    """One run of an arm, in a folder named by what tells it from other runs."""
    if arm.name == "teacher" and options.teacher:
        return Run(arm, *from_config(checkpoint.load_config(options.teacher)["recipe"]), options.teacher)
    given = {name: getattr(options, name) for name in ("epochs", "batch_size", "learning_rate", "warmup")}
    if arm.role == "teacher":
        given["precision"] = options.teacher_precision
    given = {name: value for name, value in given.items() if value is not None}
    recipe = RECIPES[recipe_name][arm.role].changed(**given | arm.changes, seed=seed)
    differing = changed_fields(recipe_name, arm.role, recipe) | dict(arm.withheld)
    marks = [f"{name}={value}" for name, value in differing.items()]
    if teacher:
        marks.append(f"teacher={hashlib.sha256(teacher.name.encode()).hexdigest()[:8]}")  # two full names are too long
    return Run(arm, recipe_name, recipe, options.runs_dir / "_".join([arm.role, recipe_name, *marks]), teacher)


def changed_fields(recipe_name: str, role: str, recipe: Recipe) -> dict:
    """The fields in which a recipe differs from its preset, and the seed in any case."""
    preset = RECIPES[recipe_name][role]
    values = {entry.name: getattr(recipe, entry.name) for entry in fields(Recipe)}
    return {name: value for name, value in values.items() if value != getattr(preset, name) or name == "seed"}


def check_nothing_is_lost(runs: list[Run], ledger: dict | None, path: Path) -> None:
    """Raise StudyError if the ledger holds runs that this command does not ask for: writing would drop them."""
    asked = [(run.arm.name, run.recipe_name, run.recipe) for run in runs]
    dropped = []
    for arm in ledger["arms"] if ledger else []:
        for found in arm["runs"]:
            try:
                kept = (arm["name"], *from_config(arm["recipe"] | {"seed": found["seed"]})) in asked
            except RecipeError:  # a setting that is gone
                kept = False
            if not kept:
                dropped.append(f"{arm['name']}, seed {found['seed']}")
    if dropped:
        raise StudyError(
            f"{path} holds runs of other settings, seeds or arms, {dropped[0]} first of {len(dropped)}: ask for them "
            "too (what is measured costs nothing), choose another --output-dir, or replace them with --afresh"
        )


def to_train(runs: list[Run], study: Study, ledger: dict | None) -> list[Run]:
    """The runs that the ledger lacks, and the teachers whose answers these are compared with."""
    fresh = [run for run in runs if not recorded(run, runs, study, ledger)]
    needed = {run.folder for run in fresh} | {teacher_of(run, runs) for run in fresh}
    return [run for run in runs if run.folder in needed]


def train_all(runs: list[Run], options: argparse.Namespace, after_each: Callable[[], object] = lambda: None) -> None:
    """Train what is not finished, `options.jobs` runs at a time, each as soon as its teacher is there.

    Args:
        after_each: called when a run is finished.

    Raises:
        StudyError: runs failed; all others that do not need them are finished.
    """
    total = len(unique(runs))
    # Seed by seed, so that a study that is cut off has compared what it has.
    waiting = sorted((run for run in unique(runs) if not is_finished(run)), key=lambda run: run.recipe.seed)
    print(f"{total} runs, {total - len(waiting)} of them finished already", flush=True)
    started, all_work = time.perf_counter(), sum(map(work, waiting))
    running: dict[subprocess.Popen, Run] = {}
    failed: list[Run] = []
    try:
        while waiting or running:
            unfinished = {run.folder for run in [*waiting, *running.values(), *failed]}
            ready = [run for run in waiting if run.teacher not in unfinished]
            for run in ready[: options.jobs - len(running)]:
                waiting.remove(run)
                print(f"run {total - len(waiting)} of {total}, {run.title}", flush=True)
                running[start(run, options)] = run
            if not running:
                break  # what still waits has lost its teacher
            time.sleep(POLL_SECONDS)
            for process in [process for process in running if process.poll() is not None]:
                run = running.pop(process)
                if process.returncode:
                    failed.append(run)
                    print(f"{run.title}: failed\n{last_lines(run.log)}", flush=True)
                else:
                    left = [*waiting, *running.values()]
                    ahead = sum(map(work, left))
                    seconds = (time.perf_counter() - started) * ahead / max(all_work - ahead, 1)
                    print(f"{run.title}: done, {len(left)} to go, about {duration(seconds)}", flush=True)
                    after_each()
    finally:
        for process in running:  # an interruption; each run keeps its last finished epoch
            process.terminate()
            process.wait()
    if failed:
        names = ", ".join(run.title for run in failed + waiting)
        raise StudyError(
            f"not finished: {names}. Their logs say why, {failed[0].log} first; then give the command again"
        )


def work(run: Run) -> float:
    """What a run costs, in multiplications and up to a factor that all runs share."""
    early = run.recipe.early_epochs > 0
    macs = models.count_macs(models.ARCHITECTURE_OF_ROLE[run.arm.role], run.recipe.stem, early)
    return macs * cost_left(run.recipe, 0)


def unique(runs: list[Run]) -> list[Run]:
    """Each folder's run once: arms of equal recipes share theirs."""
    return list({run.folder: run for run in runs}.values())


def is_finished(run: Run) -> bool:
    """Whether the run's folder holds exactly this run, all epochs of it."""
    return holds(run.folder, run)


def holds(folder: Path, run: Run) -> bool:
    """Whether a folder holds exactly this run, all epochs of it, in whatever precision."""
    if not (folder / checkpoint.CONFIG).exists():
        return False
    config = checkpoint.load_config(folder)
    taught_by = config.get("teacher")
    return (
        from_config(config["recipe"]) == (run.recipe_name, run.recipe)
        and config["epochs_done"] == run.recipe.epochs
        and (not run.teacher or taught_by["weights"] == checkpoint.load_config(run.teacher)["weights"])
    )


def start(run: Run, options: argparse.Namespace) -> subprocess.Popen:
    """Start a run's command, with its output going to its log."""
    command = [sys.executable, "-m", MODULES[run.arm.role], "--recipe", run.recipe_name]
    differing = changed_fields(run.recipe_name, run.arm.role, run.recipe) | dict(run.arm.withheld)
    for name, value in differing.items():
        if isinstance(value, bool):
            command.append(option_name(name) if value else option_name(name).replace("--", "--no-"))
        else:
            command += [option_name(name), str(value)]
    command += ["--data-dir", str(options.data_dir), "--output-dir", str(run.folder), "--device", options.device]
    if run.teacher:
        command += ["--teacher", str(run.teacher), "--teacher-logits", str(options.runs_dir / "teacher-logits")]
    if options.compile:
        command.append("--compile")
    if options.ship and run.recipe.seed == SHIPPED_SEED:
        command.append("--record")
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    run.log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{run.title}: {' '.join(command[1:])}", flush=True)
    with open(run.log, "a", encoding="utf-8") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def check_shipping(runs: list[Run]) -> None:
    """Raise StudyError unless each role has one arm: else it is not clear which to ship."""
    arms = {run.arm.name: run.arm.role for run in runs}
    if len(set(arms.values())) < len(arms):
        raise StudyError("--ship wants one arm a role: name the arms to ship with --arms")


def ship(runs: list[Run], options: argparse.Namespace) -> None:
    """Store those of `SHIPPED_SEED` as the checkpoints of their roles, with what was recorded of them."""
    for run in runs:
        folder = options.ship / run.arm.role
        if run.recipe.seed != SHIPPED_SEED or run.folder == folder or holds(folder, run) or not is_finished(run):
            continue
        precision = halve(run.folder, folder, options.data_dir)
        print(f"{folder}: {run.title}, {precision['weights']}", flush=True)


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a run's log."""
    return "\n".join("    " + line for line in log.read_text("utf-8").splitlines()[-count:])


if __name__ == "__main__":
    main()
