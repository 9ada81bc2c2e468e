"""Make tests/data: a few hundred CIFAR-10 images in the standard layout, for tests to read.

    python -m tests.make_subset data

Takes the first ten images of each class from each of the six files, so that the subset is balanced,
and states its size in batches.meta, where the reader looks for it.
"""

import pickle
import sys
from pathlib import Path

import numpy as np

from kd.cifar10 import CLASSES, FOLDER, TEST_FILES, TRAIN_FILES

PER_CLASS_AND_FILE = 10
SUBSET = Path(__file__).parent / "data"


def main(data_dir: str) -> None:
    folder = SUBSET / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRAIN_FILES + TEST_FILES:
        with open(Path(data_dir) / FOLDER / name, "rb") as file:
            batch = pickle.load(file, encoding="bytes")
        labels = np.array(batch[b"labels"])
        rows = np.sort(np.concatenate([np.flatnonzero(labels == k)[:PER_CLASS_AND_FILE] for k in range(len(CLASSES))]))
        subset = {
            b"batch_label": batch[b"batch_label"],
            b"labels": labels[rows].tolist(),
            b"data": batch[b"data"][rows],
            b"filenames": [batch[b"filenames"][row] for row in rows],
        }
        with open(folder / name, "wb") as file:
            pickle.dump(subset, file, protocol=2)
    meta = {
        b"num_cases_per_batch": PER_CLASS_AND_FILE * len(CLASSES),
        b"label_names": [name.encode() for name in CLASSES],
        b"num_vis": 3072,
    }
    with open(folder / "batches.meta", "wb") as file:
        pickle.dump(meta, file, protocol=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
