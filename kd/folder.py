"""A folder of pictures as a data set: `train/CLASS/*`, and `val/` and `test/` alike (torchvision's ImageFolder).

What is missing of `val/` and `test/` is parted from `train/`: a fixed share of each class, chosen by the pictures'
names and a fixed seed, so that it is the same in every run, and a picture that is added moves hardly any other.

Every picture is decoded once, as the page decodes a photo (`kd.photo.read_photo`: its centre square, scaled), and
packed, in a random order that is fixed:

    .packed/LISTING.json            says which pack the pictures make that the folder lists (names, sizes, times)
    .packed/CONTENT-SIZE/pack.json  classes, normalisation; of each part names, labels, sha256; what was left out, why
    .packed/CONTENT-SIZE/train      the pixels, uint8, (N, 3, SIZE, SIZE), nothing else; val and test alike

CONTENT is a digest of all names and files, and of how they are decoded: pictures that are touched, or moved with the
whole folder, are not decoded again. A pack is mapped into memory, so that no more of it is there than is looked at;
one that is large is read block by block. Packs of former pictures stay, and can be deleted. Where the folder cannot be
written to, packs lie in the user's cache (`XDG_CACHE_HOME`, or ~/.cache).
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from kd.checkpoint import MAX_CLASSES
from kd.cifar10 import NAME
from kd.dataset import SPLIT_SEED, DataError, DataSet, LabelledImages, Normalisation, mean_and_spread
from kd.files import fingerprint, make_writable, write_json
from kd.photo import PhotoError, read_photo, to_network_size

PARTS = ("train", "val", "test")
MISNAMED = {"valid": "val", "validation": "val", "val": "val", "test": "test"}  # in whatever case
SHARES = {"val": 0.1, "test": 0.2}  # of train's pictures, for what is not there
NAMED = 10  # pictures that cannot be read are named up to here, then counted
BLOCK = 1024  # images that are read together where they are many
PACKED = ".packed"
IN_MEMORY = 0.25  # share of the memory beyond which they are many
AT_ONCE = 256  # pictures that are decoded side by side
DECODED_AS = 2  # to be raised whenever `kd.photo` makes other pixels of a picture: older packs are not read then

Listing = dict[str, list[tuple[str, int]]]  # by part the pictures' names below the folder, and their labels


def open_folder(folder: Path, image_size: int, strict: bool = False) -> DataSet:
    """Open a folder of pictures, packing it where that has not been done.

    Args:
        image_size: the side that pictures are scaled to, pixels.
        strict: a picture that cannot be read is an error; else it is named and left out.

    Raises:
        DataError: the folder is not sorted into classes as described, or is changed while it is read.
    """
    classes = _classes(folder)
    listing = _parted(folder, classes)
    home = folder / PACKED
    try:
        home = _home(folder)
        pack = _packed(home, folder, classes, listing, image_size)
        described = json.loads((pack / "pack.json").read_text("utf-8"))
        left_out, normalisation = dict(described["left_out"]), Normalisation(**described["normalisation"])
    except DataError:  # of the pictures, not of the pack
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"the pictures in {folder} cannot be packed ({error}): make room if the disk is full, else delete {home}, "
            "and they are packed anew"
        ) from error
    _tell(folder, left_out, strict)

    def read(part: str) -> LabelledImages:
        labels, digest = described["parts"][part]["labels"], described["parts"][part]["sha256"]
        shape = (len(labels), 3, image_size, image_size)
        try:
            pixels = _mapped(pack / part, shape)
        except (OSError, ValueError) as error:
            raise DataError(f"{pack / part} cannot be read ({error}): delete {pack}, and it is packed anew") from error
        name = folder.resolve().name
        name += " (a folder)" if name == NAME else ""  # which means the data set itself
        description = {"name": name, "part": part, "images": len(labels), "sha256": digest}
        if left_out:
            description["left_out"] = len(left_out)
        block = BLOCK if pixels.nbytes > IN_MEMORY * memory_bytes() else None
        return LabelledImages(pixels, torch.tensor(labels), description, None, classes, normalisation, block)

    return DataSet(classes, lambda: (read("train"), read("val")), lambda: read("test"))


def memory_bytes() -> int:
    """The machine's memory; none where it does not tell, so that all packs count as large."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


# What the folder holds


def _classes(folder: Path) -> tuple[str, ...]:
    """The names of the classes, sorted; raises DataError where they cannot be classes."""
    for name in _subfolders(folder):
        if name not in PARTS and (part := MISNAMED.get(name.casefold())):
            raise DataError(
                f"rename {folder / name} to {part}: else pictures of {folder / 'train'} would take its place"
            )
    found = {part: _subfolders(folder / part) for part in PARTS if (folder / part).is_dir()}
    names = found["train"]
    by_case: dict[str, str] = {}
    for name in names:
        if name.casefold() in by_case:
            raise DataError(
                f"{folder / 'train'} has two classes that differ by case alone, {by_case[name.casefold()]} and {name}: "
                "rename one, or put their pictures together"
            )
        by_case[name.casefold()] = name
    if not 2 <= len(names) <= MAX_CLASSES:
        raise DataError(f"{folder / 'train'} holds {len(names)} classes: it takes 2 to {MAX_CLASSES} folders")
    for name in names:
        if not name.isprintable() or len(name) > 100:
            raise DataError(f"{folder / 'train'} holds a class with the name {name!r}: take 100 printable letters")
    for part, others in found.items():
        if apart := set(names) ^ set(others):
            name = min(apart)
            there, lacks = (part, "train") if name in others else ("train", part)
            raise DataError(f"the class {name} is in {folder / there}, but not in {folder / lacks}: put it into both")
    return tuple(names)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those inside it, but hidden ones: such a folder may hold a picture's thumbnail."""
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where) / name for name in names if not name.startswith("."))


def _parted(folder: Path, classes: tuple[str, ...]) -> Listing:
    """Which pictures are in which part; raises DataError where a class has none there."""
    listing: Listing = {part: [] for part in PARTS}
    missing = [part for part in SHARES if not (folder / part).is_dir()]
    for label, name in enumerate(classes):
        for part in (part for part in PARTS if part not in missing):
            files = sorted(file.relative_to(folder).as_posix() for file in _files(folder / part / name))
            if not files:
                raise DataError(f"the class {name} is empty: {folder / part / name} holds no file")
            if part == "train" and missing:
                files.sort(key=_drawn)
                if len(files) <= len(missing):
                    raise DataError(
                        f"{folder / part / name} holds {len(files)} files: too few to part {' and '.join(missing)} "
                        f"from them; add pictures, or make {' and '.join(str(folder / other) for other in missing)}"
                    )
                count = len(files)
                for other in missing:
                    taken = max(1, round(count * SHARES[other]))
                    listing[other] += [(file, label) for file in files[:taken]]
                    files = files[taken:]
            listing[part] += [(file, label) for file in files]
    return {part: sorted(files, key=lambda each: _drawn(each[0])) for part, files in listing.items()}


def _drawn(name: str) -> bytes:
    """What names are sorted by to come into a random order that is fixed."""
    return hashlib.sha256(f"{SPLIT_SEED} {name}".encode(errors="surrogateescape")).digest()


def _tell(folder: Path, left_out: dict[str, str], strict: bool) -> None:
    """Name the pictures that cannot be read, or raise DataError."""
    if not left_out:
        return
    lines = [f"{folder / name}: {why}" for name, why in list(left_out.items())[:NAMED]]
    if len(left_out) > NAMED:
        lines.append(f"and {len(left_out) - NAMED} more")
    text = "\n".join(lines)
    if strict:
        raise DataError(f"{len(left_out)} pictures cannot be read:\n{text}")
    tqdm.write(f"{len(left_out)} pictures are left out, since they cannot be read:\n{text}", file=sys.stderr)


# The pack


def _packed(home: Path, folder: Path, classes: tuple[str, ...], listing: Listing, image_size: int) -> Path:
    """The folder of the pack, which is made in `home` where it is missing."""
    note = home / f"{_digest(folder, listing, _size_and_time)[:32]}.json"
    try:
        content = json.loads(note.read_text("utf-8"))["content"]
    except (OSError, ValueError, LookupError, TypeError):
        content = _digest(folder, listing, _sha256, bar=True)
        write_json(note, {"content": content})
    pack = home / f"{content[:16]}-{image_size}"
    there = (pack / "pack.json").is_file()
    if not there or _readable_by_now(pack, folder, image_size):
        staging = Path(tempfile.mkdtemp(dir=home, suffix=".tmp"))
        try:
            _write_pack(staging, folder, classes, listing, image_size)
            staging.chmod(0o755)  # mkdtemp lets nobody else in
            # Unless another process has packed them meanwhile, and may have begun to read.
            if there or not (pack / "pack.json").is_file():
                shutil.rmtree(pack, ignore_errors=True)
                os.replace(staging, pack)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return pack


def _readable_by_now(pack: Path, folder: Path, image_size: int) -> bool:
    """Whether a picture that was left out can be read today: a disk was away, or a reader has been installed."""
    left_out = json.loads((pack / "pack.json").read_text("utf-8"))["left_out"]
    return any(not isinstance(picture, str) for picture in _decoded(folder, list(left_out), image_size))


def _mapped(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    """The pixels in a file, (N, 3, SIZE, SIZE), mapped to be read alone: others would count as memory that is taken.

    What writes to them ends the process.
    """
    with warnings.catch_warnings(action="ignore"):  # PyTorch warns of just that
        return torch.from_numpy(np.memmap(path, np.uint8, "r", shape=shape))


def _home(folder: Path) -> Path:
    """Where the packs of a folder lie: in it, or in the user's cache where it cannot be written to."""
    home = folder / PACKED
    try:
        make_writable(home)
    except OSError:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        home = cache / "dark-knowledge" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        home.mkdir(parents=True, exist_ok=True)
    return home


def _size_and_time(file: Path) -> str:
    """What tells a picture from a former one without opening it."""
    state = file.stat()
    return f"{state.st_size}\0{state.st_mtime_ns}"


def _sha256(file: Path) -> str:
    return fingerprint(file)["sha256"]


def _digest(folder: Path, listing: Listing, own: Callable[[Path], str], bar: bool = False) -> str:
    """Of all pictures' parts, names and labels, of what `own` takes of each file, and of how they are decoded."""
    digest = hashlib.sha256(f"{DECODED_AS}\n".encode())
    for part, files in listing.items():
        # None: a bar where a terminal shows it.
        for name, label in tqdm(files, f"reading {part}", unit="img", leave=False, disable=None if bar else True):
            try:
                taken = own(folder / name)
            except OSError as error:  # a link to nowhere; it is named and left out when it is decoded
                taken = str(error.errno)
            digest.update(f"{part}\0{name}\0{label}\0{taken}\n".encode(errors="replace"))
    return digest.hexdigest()


def _write_pack(pack: Path, folder: Path, classes: tuple[str, ...], listing: Listing, image_size: int) -> None:
    parts, left_out = {}, {}
    for part, files in listing.items():
        labels, names, digest = [], [], hashlib.sha256()
        with open(pack / part, "wb") as target:
            decoded = _decoded(folder, [name for name, _ in files], image_size)
            bar = tqdm(zip(files, decoded, strict=True), f"packing {part}", len(files), unit="img", disable=None)
            for (name, label), picture in bar:
                if isinstance(picture, str):
                    left_out[name] = picture
                    continue
                target.write(picture)
                digest.update(picture)
                labels.append(label)
                names.append(name)
        if empty := set(range(len(classes))) - set(labels):
            file = next(file for file, label in files if label == min(empty))
            raise DataError(
                f"no picture of the class {classes[min(empty)]} is left for {part}: {folder / file} cannot be read "
                f"({left_out[file]}). Replace it, or take it away"
            )
        parts[part] = {"names": names, "labels": labels, "sha256": digest.hexdigest()}
    shape = (len(parts["train"]["labels"]), 3, image_size, image_size)
    training = _mapped(pack / "train", shape)
    described = {
        "classes": classes,
        "normalisation": mean_and_spread(training)._asdict(),
        "left_out": left_out,
        "parts": parts,
    }
    write_json(pack / "pack.json", described)


def _decoded(folder: Path, names: list[str], image_size: int) -> Iterator[bytes | str]:
    """The pixels of each picture, (3, SIZE, SIZE), or why it cannot be read."""

    def decode(name: str) -> bytes | str:
        try:
            image = to_network_size(read_photo(folder / name, trusted=True), image_size=image_size)
        except PhotoError as error:
            return error.reason
        except OSError as error:
            return str(error)
        return np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1)).tobytes()

    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow decodes and scales beside Python
        for first in range(0, len(names), AT_ONCE):  # not all at once: what is decoded waits in memory
            yield from threads.map(decode, names[first : first + AT_ONCE])
