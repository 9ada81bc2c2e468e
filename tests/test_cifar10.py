"""The reader believes nothing: whatever is not CIFAR-10 is refused, by name, before a network sees it."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from kd.cifar10 import (
    CLASSES,
    FOLDER,
    NORMALISATIONS,
    TRAIN_FILES,
    read_test_set,
    read_training_set,
)
from kd.dataset import DataError, normalise, split_indices

ROOT = Path(__file__).parent.parent


def write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


def make_batch(seed, images=10):
    pixels = np.random.default_rng(seed).integers(0, 256, (images, 3072), dtype=np.uint8)
    return {b"data": pixels, b"labels": [label % 10 for label in range(images)]}


def make_copy(data_dir):
    """A folder in CIFAR-10's layout with one image of each class in each file."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True)
    for seed, name in enumerate((*TRAIN_FILES, "test_batch")):
        write(folder / name, make_batch(seed))
    write(folder / "batches.meta", {b"label_names": [name.encode() for name in CLASSES], b"num_cases_per_batch": 10})
    return folder


# Reading


@pytest.mark.parametrize(
    ("read", "files", "part"), [(read_training_set, TRAIN_FILES, "train"), (read_test_set, ("test_batch",), "test")]
)
def test_images_and_labels_come_as_the_files_hold_them(data_dir, read, files, part):
    read_images = read(data_dir)
    images, labels, digest = [], [], hashlib.sha256()
    for name in files:
        with open(data_dir / FOLDER / name, "rb") as file:
            batch = pickle.load(file, encoding="bytes")
        for row, label in zip(batch[b"data"], batch[b"labels"], strict=True):
            # The format's own words: 1024 bytes of red, then green, then blue, each row by row.
            images.append(np.stack([row[:1024], row[1024:2048], row[2048:]]).reshape(3, 32, 32))
            labels.append(label)
            digest.update(row.tobytes())

    assert read_images.images.dtype == torch.uint8
    assert read_images.labels.dtype == torch.int64
    assert read_images.images.shape == (100 * len(files), 3, 32, 32)
    assert np.array_equal(read_images.images.numpy(), np.stack(images))
    assert read_images.labels.tolist() == labels
    assert read_images.description == {
        "name": "CIFAR-10", "part": part, "images": len(labels), "sha256": digest.hexdigest(),
    }  # fmt: skip


def test_chosen_positions_keep_images_and_labels_together(data_dir):
    everything = read_training_set(data_dir)
    some = everything[torch.tensor([7, 3])]
    assert len(some) == 2
    assert torch.equal(some.images, torch.stack([everything.images[7], everything.images[3]]))
    assert some.labels.tolist() == [everything.labels[7], everything.labels[3]]
    assert some.description == everything.description


def test_normalising_brings_each_channel_to_mean_0_and_deviation_1(data_dir):
    images = read_training_set(data_dir).images.float() / 255
    normalised = normalise(images, NORMALISATIONS["cifar10"])
    mean, std = NORMALISATIONS["cifar10"]
    for channel in range(3):
        expected = (images[:, channel].double() - mean[channel]) / std[channel]
        torch.testing.assert_close(normalised[:, channel].double(), expected, rtol=0, atol=1e-5)
    # 500 of 50,000 images: near the constants of the whole, and far from those of another order of channels.
    assert normalised.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (normalised.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1


# The split


def test_split_holds_out_a_tenth_of_each_class_and_loses_no_image():
    labels = torch.from_numpy(np.random.default_rng(1).permutation(np.arange(50_000) % 10))
    training, validation = split_indices(labels)
    assert (len(training), len(validation)) == (45_000, 5_000)
    assert torch.equal(torch.cat([training, validation]).sort().values, torch.arange(50_000))
    assert labels[validation].bincount().tolist() == [500] * 10
    assert training.diff().min() > 0 and validation.diff().min() > 0


def test_split_never_changes():
    labels = torch.arange(50_000) % 10
    torch.manual_seed(1)
    np.random.seed(1)
    first = split_indices(labels)[1]
    torch.manual_seed(2)
    np.random.seed(2)
    second = split_indices(labels)[1]
    assert torch.equal(first, second)
    # Results measured on another split could not be compared with those that are published here.
    assert hashlib.sha256(first.numpy().astype("<i8").tobytes()).hexdigest() == (
        "373bbc6862bccb4dd43a8f7deb249730715036b458628c8dcca0cc32c55de037"
    )


# Damage


UNREADABLE = "data_batch_3 cannot be read as a CIFAR-10 file"
WRONG_PIXELS = "data_batch_3 is not a CIFAR-10 batch: its data is"
WRONG_LABELS = "data_batch_3 is not a CIFAR-10 batch: its labels are not"
BATCH = make_batch(0)
PIXELS = BATCH[b"data"]
DAMAGES = {
    "a shorter batch": (make_batch(0, images=9), "data_batch_3 holds 9 images and 9 labels instead of 10"),
    "a label less": (BATCH | {b"labels": [*range(9)]}, "data_batch_3 holds 10 images and 9 labels instead of 10"),
    "an image less": (BATCH | {b"data": PIXELS[:9]}, "data_batch_3 holds 9 images and 10 labels instead of 10"),
    "floats": (BATCH | {b"data": PIXELS.astype(np.float32)}, WRONG_PIXELS),
    "four dimensions": (BATCH | {b"data": PIXELS.reshape(-1, 3, 32, 32)}, WRONG_PIXELS),
    "grey": (BATCH | {b"data": PIXELS[:, :1024]}, WRONG_PIXELS),
    "label 10": (BATCH | {b"labels": [*range(9), 10]}, WRONG_LABELS),
    "label -1": (BATCH | {b"labels": [-1, *range(1, 10)]}, WRONG_LABELS),
    "CIFAR-100": ({b"data": PIXELS, b"fine_labels": [*range(10)], b"coarse_labels": [0] * 10}, WRONG_LABELS),
    "a list": ([1, 2, 3], "data_batch_3 is not a CIFAR-10 file: it holds a list"),
    "one class alone": (
        BATCH | {b"labels": [0] * 10},
        r"data_batch_3, .* hold \[14, 4, 4, 4, 4, 4, 4, 4, 4, 4\] images of the ten classes",
    ),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-500]), UNREADABLE),
    "empty": (lambda path: path.write_bytes(b""), UNREADABLE),
    "missing": (Path.unlink, "data_batch_3 is missing"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_batch_is_refused_by_name(tmp_path, damage, message):
    folder = make_copy(tmp_path)
    read_training_set(tmp_path)  # whole before the damage
    if callable(damage):
        damage(folder / "data_batch_3")
    else:
        write(folder / "data_batch_3", damage)
    with pytest.raises(DataError, match=message) as caught:
        read_training_set(tmp_path)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "meta",
    [
        {b"label_names": [b"apple", b"aquarium_fish"], b"num_cases_per_batch": 10},
        {b"label_names": [name.encode() for name in reversed(CLASSES)], b"num_cases_per_batch": 10},
        {b"label_names": [name.encode() for name in CLASSES], b"num_cases_per_batch": "ten"},
        {b"label_names": [name.encode() for name in CLASSES], b"num_cases_per_batch": 0},
        {b"fine_label_names": [b"apple"]},
        ["airplane"],
    ],
    ids=["other classes", "other order", "text for a number", "no images", "CIFAR-100", "a list"],
)
def test_foreign_meta_file_is_refused_by_name(tmp_path, meta):
    write(make_copy(tmp_path) / "batches.meta", meta)
    with pytest.raises(DataError, match=r"batches\.meta"):
        read_test_set(tmp_path)


def test_without_a_meta_file_the_full_10000_images_are_demanded(tmp_path):
    (make_copy(tmp_path) / "batches.meta").unlink()
    with pytest.raises(DataError, match="test_batch holds 10 images .* 10,000"):
        read_test_set(tmp_path)


class Payload:
    """What a hostile pickle looks like: a callable, and what to call it with as soon as it is loaded."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("name", ["data_batch_1", "batches.meta"])
@pytest.mark.parametrize(
    ("function", "argument"),
    [(os.system, "mkdir {}"), (os.mkdir, "{}"), (eval, "__import__('os').mkdir('{}')")],
    ids=["os.system", "os.mkdir", "eval"],
)
def test_pickle_that_would_execute_code_is_refused_and_executes_nothing(tmp_path, name, function, argument):
    folder, mark = make_copy(tmp_path), tmp_path / "executed"
    write(folder / name, make_batch(0) | {b"extra": Payload(function, argument.format(mark))})
    with open(folder / name, "rb") as file:
        pickle.load(file, encoding="bytes")
    assert mark.exists(), "the payload must work, or its refusal proves nothing"
    mark.rmdir()

    with pytest.raises(DataError, match=name):
        read_training_set(tmp_path)
    assert not mark.exists()


# The download


def test_failed_download_names_the_folder_and_the_way_out(tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", unreachable)
    with pytest.raises(DataError, match="does not exist.*Name or service not known.*--data-dir") as caught:
        read_training_set(tmp_path)
    assert str(tmp_path / FOLDER) in str(caught.value)


def test_missing_folder_is_downloaded_once_and_read(tmp_path, monkeypatch):
    asked = []

    def download(root, download):
        asked.append((Path(root), download))
        make_copy(tmp_path)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", download)
    assert len(read_training_set(tmp_path)) == 50
    assert len(read_test_set(tmp_path)) == 10
    assert asked == [(tmp_path, True)]


def test_damage_starts_no_download(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda *arguments, **options: pytest.fail("downloaded"))
    (tmp_path / FOLDER).mkdir()
    with pytest.raises(DataError, match="data_batch_1 is missing"):
        read_training_set(tmp_path)


# Importing


@pytest.mark.slow
def test_importing_the_library_loads_neither_gradio_nor_data():
    core = [f"kd.{path.stem}" for path in (ROOT / "kd").glob("[a-z]*.py")]
    assert "kd.training" in core and "kd.cifar10" in core
    code = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, about: opened.append(str(about[0])) if event == 'open' else None)\n"
        f"import kd, {', '.join(core)}\n"
        "print('gradio' in sys.modules, any('cifar-10' in path for path in opened))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
