"""Carry out a study: train all its runs, measure them once, and write what came out.

python -m train.study main --output-dir runs/studies      five seeds of the recipe `strong`
python -m train.study main --output-dir runs/studies --recipe original --seeds 3 --jobs 2   two runs side by side
python -m train.study --document docs/studies.md          writes down all that is measured, and carries nothing out

What is measured lies in checkpoints/studies, and no study with the same teacher that measures the same trains it again
(but `human-doubt`, which wants the networks themselves); another --output-dir begins anew.

Every run is a command of its own (`train.teacher`, `train.student`, `train.distill`) with a folder of its own, which
studies share: what is finished is not trained again, and what was cut off goes on from its last epoch.
"""

import argparse
import filecmp
import functools
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from kd.checkpoint import CheckpointError, read_history
from kd.data_dir import open_data, recipe_defaults
from kd.dataset import DataError
from kd.device import DeviceError, process_device
from kd.files import write_atomically
from kd.memory import keep_freed_memory
from kd.models import SCRIPT_OF_ROLE, NetworkError
from kd.recipe import Recipe, RecipeError, option_name
from kd.studies.declared import HUMAN_LABELS, STUDIES, Study
from kd.studies.human_labels import read_people
from kd.studies.known import (
    FORMER,
    check_nothing_is_lost,
    check_same_data,
    check_teachers_are_there,
    to_measure,
    with_others,
)
from kd.studies.ledger import (
    FIGURES_FOLDER,
    STUDIES_FOLDER,
    MeasuredStudy,
    read_folder,
    read_study,
    study_files,
    write_study,
)
from kd.studies.measure import summarise
from kd.studies.report import study_table
from kd.studies.runs import (
    Run,
    StudyError,
    differing,
    image_size_of,
    is_finished,
    plan,
    teacher_of,
    unique,
)
from kd.studies.selectors import chosen
from kd.training import cost_left, epoch_cost
from train.document import write_studies
from train.options import (
    add_compile,
    add_data_dir,
    add_device,
    add_document,
    add_jobs,
    add_output_dir,
    add_recipe,
    add_recipe_option,
    add_seeds,
)
from train.ship import SHIPPED_SEED, check_shipping, ship

POLL_SECONDS = 0.2
SECONDS_A_LINE = 60  # between two lines on how far a study is
SETTINGS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup",
    "image_size",
)  # fields that a study may set for all its arms


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if not options.study:
        if not options.document:
            parser.error("name a study, or give --document to write down those that are measured")
        return write_down(parser, options)
    # Ended from outside (a time limit, a shutdown), the study ends its runs too, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    study = STUDIES[options.study]
    try:
        device = process_device(options.device)
        keep_freed_memory()
        runs = planned(study, options)
        data = open_data(options.data_dir, image_size_of(runs))
        digest = data.split()[0].description["sha256"]
        runs = [replace(run, data=digest) for run in runs]
        if options.ship:
            check_shipping(runs)
        path = options.output_dir / f"{options.study}.json"
        ledger = opened(path, options.afresh)
        check_same_data(ledger, data, path)
        check_nothing_is_lost(runs, study, ledger, path)
        if not options.afresh:
            ledger = with_others(ledger, other_studies(path), runs, study, data)
        check_teachers_are_there(runs, study, ledger, path)
        if study.analysis == HUMAN_LABELS:
            read_people(options.cifar10h, data.test().labels)  # if it cannot be used, better now than in hours
        command = "python -m train.study " + shlex.join(sys.argv[1:] if arguments is None else arguments)
        missing = to_measure(runs, study, ledger)
        print(f"{len(runs)} runs, {len(runs) - len(missing)} of them measured in {options.output_dir}", flush=True)
        looked: dict[tuple[Path, str], Tensor] = {}

        def measure() -> None:
            """Write down what is done: should the machine be lost, the file is enough to go on with."""
            nonlocal ledger
            if done := measurable(runs, missing):
                ledger = summarise(
                    options.study, study, done, data, device,
                    command=command, cifar10h=options.cifar10h, ledger=ledger, looked=looked,
                )  # fmt: skip
                if options.afresh:
                    keep_former(path)
                write_study(ledger, path)
                if options.ship:
                    ship(done, options.ship, options.data_dir)

        train_all(missing, options, after_each=lambda: study.analysis == HUMAN_LABELS or measure())
        measure()
        table = study_table(ledger)
        if options.document:
            write_studies(options.document, [ledger], options.output_dir / FIGURES_FOLDER)
    except (StudyError, CheckpointError, DataError, DeviceError, NetworkError, RecipeError, OSError) as error:
        sys.exit(f"python -m train.study: {error}")
    except KeyboardInterrupt:
        sys.exit("python -m train.study: interrupted; the same command goes on from each run's last finished epoch")
    print(table, end="")


def opened(path: Path, afresh: bool) -> MeasuredStudy | None:
    """The study's JSON, with which its command goes on; None where there is none, or --afresh is to replace it."""
    if afresh and not has_begun_afresh(path):
        return None
    if afresh:
        print(
            f"{path.with_suffix(FORMER)} holds what --afresh replaced: going on; to replace {path} too, move that away",
            flush=True,
        )
    return read_study(path) if path.exists() else None


def other_studies(path: Path) -> list[MeasuredStudy]:
    """The studies beside the one at `path`: what they have measured need not be trained again."""
    return [study for name, study in read_folder(path.parent).items() if name != path.stem]


def has_begun_afresh(path: Path) -> bool:
    """Whether an earlier --afresh has replaced a study's JSON, kept beside it, by measurements of its own."""
    former = path.with_suffix(FORMER)
    # Both are the same where it ended between the copy and its first measurement.
    return path.exists() and former.exists() and not filecmp.cmp(path, former, shallow=False)


def keep_former(path: Path) -> None:
    """Keep what --afresh is about to replace, once: runs that are gone may stand in it."""
    former = path.with_suffix(FORMER)
    if path.exists() and not former.exists():
        # Copied, so that at no moment the page is without the study.
        write_atomically(former, functools.partial(shutil.copyfile, path))


def measurable(runs: list[Run], missing: list[Run]) -> list[Run]:
    """The runs that are done, and whose teachers are: a run that stands in the file is not looked at again."""
    done = [run for run in runs if run not in missing or is_finished(run)]
    folders = {run.folder for run in done}
    return [run for run in done if teacher_of(run, runs) in (None, *folders)]


def write_down(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Write all studies that are measured into a document."""
    try:
        studies = [read_study(path) for path in study_files(options.output_dir)]
        write_studies(options.document, studies, options.output_dir / FIGURES_FOLDER)
    except (CheckpointError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.study",
        description="Train, measure and compare the runs of a study.",
        epilog="An interrupted study given the same command goes on where it was cut off.",
    )
    questions = "; ".join(f"{name}: {study.question}" for name, study in STUDIES.items())
    parser.add_argument("study", nargs="?", choices=STUDIES, metavar="NAME", help=questions)
    add_recipe(parser, default=None)
    add_seeds(parser)
    parser.add_argument("--arms", nargs="+", metavar="FIELD=VALUE,...",
                        help="only the arms of which all of this is so, like role=teacher or "
                        "omitted_class=frog,temperature=8: role, label_fraction, keep_unlabelled, omitted_class, "
                        "varies, what an arm changes in the recipe, and each after teacher. for the teacher's; none "
                        "for what it does not set. The others are counted as not run")  # fmt: skip
    parser.add_argument("--teacher", type=Path, metavar="DIR",
                        help="take the teacher from whom nothing is withheld from this checkpoint")  # fmt: skip
    add_jobs(parser, default=1)
    add_data_dir(parser)
    parser.add_argument("--cifar10h", type=Path, metavar="FILE",
                        help="cifar10h-counts.npy, which the study human-doubt measures by")  # fmt: skip
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR",
                        help="folder of the runs' checkpoints and logs (runs)")  # fmt: skip
    add_output_dir(parser, f"checkpoints/{STUDIES_FOLDER}", "folder of the summaries")
    parser.add_argument("--afresh", action="store_true",
                        help="measure all runs anew, also those that the study's JSON holds, which is kept as "
                        f"NAME{FORMER}; where that is there already, go on")  # fmt: skip
    parser.add_argument("--ship", type=Path, metavar="DIR",
                        help=f"store the runs of seed {SHIPPED_SEED} there, in float16 where accuracy allows, and "
                        "record those of the three roles")  # fmt: skip
    group = parser.add_argument_group("recipe", "set for all arms that do not say otherwise")
    for entry in fields(Recipe):
        if entry.name in SETTINGS:
            add_recipe_option(group, entry)
    add_document(parser, "write the study's section of this file; without NAME, of all studies")
    add_device(parser)
    add_compile(parser)
    return parser


def planned(study: Study, options: argparse.Namespace) -> list[Run]:
    """The runs that the options ask for; see `kd.studies.runs.plan`.

    Raises:
        StudyError: also where the study lacks people's labels, or the arms cannot be chosen so.
    """
    if study.analysis == HUMAN_LABELS and not options.cifar10h:
        raise StudyError("this study compares with people: give CIFAR-10H's cifar10h-counts.npy with --cifar10h")
    given = {name: value for name in SETTINGS if (value := getattr(options, name)) is not None}
    return plan(
        study,
        options.runs_dir,
        recipe_name=options.recipe,
        seeds=options.seeds,
        settings=recipe_defaults(options.data_dir) | given,
        arms=chosen(study, options.arms) if options.arms else None,
        teacher=options.teacher,
    )


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
    tell(f"{total} runs, {total - len(waiting)} of them finished already")
    progress = StudyProgress(list(waiting), options.jobs)
    running: dict[subprocess.Popen, Run] = {}
    failed: list[Run] = []
    try:
        while waiting or running:
            unfinished = {run.folder for run in [*waiting, *running.values(), *failed]}
            ready = [run for run in waiting if run.teacher not in unfinished]
            for run in ready[: options.jobs - len(running)]:
                waiting.remove(run)
                tell(f"run {total - len(waiting)} of {total}, {run.title}")
                running[start(run, options)] = run
            if not running:
                break  # what still waits has lost its teacher
            time.sleep(POLL_SECONDS)
            progress.show(list(running.values()), waiting)
            for process in [process for process in running if process.poll() is not None]:
                run = running.pop(process)
                if process.returncode:
                    failed.append(run)
                    tell(f"{run.title}: failed\n{last_lines(run.log)}")
                else:
                    progress.take_in([run])
                    left = [*running.values(), *waiting]
                    tell(f"{run.title}: done, {len(left)} to go" + (f", {progress.end_of(left)}" if left else ""))
                    after_each()
    finally:
        progress.close()
        for process in running:  # an interruption; each run keeps its last finished epoch
            process.terminate()
            process.wait()
    if failed:
        names = ", ".join(run.title for run in failed + waiting)
        raise StudyError(
            f"not finished: {names}. Their logs say why, {failed[0].log} first; then give the command again"
        )


def tell(line: str) -> None:
    """Print a line at once, above the bar where there is one."""
    tqdm.write(line)
    sys.stdout.flush()


class StudyProgress:
    """How far the runs of a study are, and when all will be done.

    On a terminal it is a bar over their epochs; elsewhere a line after an epoch, at most one a minute.

    Args:
        runs: those that are to be trained, also those that were begun before.
        jobs: how many are trained side by side.
    """

    def __init__(self, runs: list[Run], jobs: int) -> None:
        self.runs, self.jobs = runs, jobs
        self.histories = {run.folder: read_history(run.folder) for run in runs}
        self.told = time.monotonic()
        # The bar has its place before what may be cut off.
        self.bar = tqdm(total=sum(run.recipe.epochs for run in runs), leave=False, dynamic_ncols=True,
                        bar_format="{bar:20} {n}/{total}{postfix}", disable=None if runs else True)  # fmt: skip

    def take_in(self, running: list[Run]) -> list[Run]:
        """Read the histories of runs; returns those that have an epoch more."""
        before = {run.folder: self.epochs_done(run) for run in running}
        self.histories |= {run.folder: read_history(run.folder) for run in running}
        return [run for run in running if self.epochs_done(run) > before[run.folder]]

    def show(self, running: list[Run], waiting: list[Run]) -> None:
        """Show how far all is, `running` being under way."""
        grown, left = self.take_in(running), [*running, *waiting]
        if self.bar.disable:
            if grown and time.monotonic() - self.told >= SECONDS_A_LINE:
                self.told = time.monotonic()
                for run in grown:
                    tell(f"{run.title}: epoch {self.epochs_done(run)} of {run.recipe.epochs}; {self.end_of(left)}")
            return
        histories = {run.title: self.histories[run.folder] for run in running}
        known = [
            f"{title} {last[-1]['validation_accuracy']:.1%}" if last else title for title, last in histories.items()
        ]
        self.bar.set_postfix_str("; ".join([self.end_of(left), *known]), refresh=False)
        self.bar.n = sum(map(self.epochs_done, self.runs))
        self.bar.refresh()

    def epochs_done(self, run: Run) -> int:
        return min(len(self.histories[run.folder]), run.recipe.epochs)

    def end_of(self, left: list[Run]) -> str:
        """When what is left will be done, by what epochs so far took: those of the same role, where there are any."""
        seconds, cost = Counter(), Counter()
        for run in self.runs:
            epochs = self.histories[run.folder][: run.recipe.epochs]
            seconds[run.arm.role] += sum(epoch.get("seconds", 0) for epoch in epochs)
            cost[run.arm.role] += sum(epoch_cost(run.recipe, number) for number in range(len(epochs)))
        known = {role: seconds[role] / cost[role] for role in cost if cost[role]}
        if not known:
            return "the first epoch will tell when all is done"
        any_role = statistics.fmean(known.values())
        ahead = sum(known.get(run.arm.role, any_role) * cost_left(run.recipe, self.epochs_done(run)) for run in left)
        return f"all done about {datetime.now() + timedelta(seconds=ahead / min(self.jobs, len(left))):%a %H:%M}"

    def close(self) -> None:
        self.bar.close()


def start(run: Run, options: argparse.Namespace) -> subprocess.Popen:
    """Start a run's command, with its output going to its log."""
    command = [sys.executable, "-m", SCRIPT_OF_ROLE[run.arm.role], "--recipe", run.recipe_name]
    for name, value in differing(run.arm, run.recipe_name, run.recipe).items():
        command += [option_name(name)] if value is True else [option_name(name), str(value)]
    command += ["--data-dir", str(options.data_dir), "--output-dir", str(run.folder), "--device", options.device]
    if run.teacher:
        command += ["--teacher", str(run.teacher), "--teacher-logits", str(options.runs_dir / "teacher-logits")]
    if options.compile:
        command.append("--compile")
    if options.ship and run.recipe.seed == SHIPPED_SEED and not run.arm.omitted_class:
        command.append("--record")  # for the page's replay, which is of the three roles
    threads = str(max(1, (os.cpu_count() or 1) // options.jobs))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    run.log.parent.mkdir(parents=True, exist_ok=True)
    tell(f"{run.title}: {' '.join(command[1:])}")
    with open(run.log, "a", encoding="utf-8") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def last_lines(log: Path) -> str:
    """The end of a run's log."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return "\n".join("    " + line for line in lines[-5:])


if __name__ == "__main__":
    main()
