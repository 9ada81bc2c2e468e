"""Hinton's experiment in a minute or two, on the handwritten digits that scikit-learn carries: no download, no GPU.

    python -m train.digits

A small teacher, students alone and students that it teaches, and both again without the digit 3, each with several
seeds; measured, compared and ready for the page. Each step is a command of its own, which is told before it runs.
"""

import argparse

from kd.data_dir import DIGITS
from kd.studies.ledger import STUDIES_FOLDER
from train import choose_examples, evaluate, study
from train.options import add_jobs, add_output_dir, add_seeds


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.digits", description=__doc__.splitlines()[0])
    add_output_dir(parser, "runs/digits", "folder of the networks and of what was measured of them")
    add_seeds(parser)
    add_jobs(parser, default=2)
    options = parser.parse_args(arguments)
    folder = str(options.output_dir)
    data, device = ["--data-dir", DIGITS], ["--device", "cpu"]
    seeds = ["--seeds", str(options.seeds)] if options.seeds else []
    places = ["--runs-dir", f"{folder}/runs", "--output-dir", f"{folder}/{STUDIES_FOLDER}", "--ship", folder]
    for command, given in (
        (study, ["digits", *seeds, "--jobs", str(options.jobs), *data, *device, *places]),
        (study, ["digits-omitted-class", *seeds, "--jobs", str(options.jobs), *data, *device, *places]),
        (evaluate, ["--checkpoints", folder, *data, *device]),
        (choose_examples, ["--checkpoints", folder, *data]),
    ):  # fmt: skip
        print(f"\npython -m {command.__name__} {' '.join(given)}", flush=True)
        command.main(given)
    print(f"\nTo see them, open the page:\n    KD_CHECKPOINTS={folder} python app.py")


if __name__ == "__main__":
    main()
