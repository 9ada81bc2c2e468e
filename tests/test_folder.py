"""A folder of pictures becomes a data set: its classes, its parts, what is left out, and what is not done twice."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from kd import folder as kd_folder
from kd.data_dir import open_data
from kd.dataset import DataError, LabelledImages, mean_and_spread, shuffled
from tests.pictures import COLOURS, draw_pictures


@pytest.fixture
def pictures(tmp_path):
    """Three classes of twelve pictures, of several sizes and formats, nothing but `train/`."""
    return draw_pictures(tmp_path / "pictures", {"train": 12})


def names_in(data):
    """What tells each picture from all others, by part: its colour."""
    training, validation = data.split()
    parts = {"train": training, "val": validation, "test": data.test()}
    return {part: {tuple(image.flatten().tolist()) for image in of.images} for part, of in parts.items()}


def test_pictures_are_scaled_sorted_into_classes_and_parted_without_overlap(pictures):
    data = open_data(pictures, 20)
    training, validation = data.split()
    test = data.test()
    assert data.classes == training.classes == test.classes == tuple(sorted(COLOURS))
    assert training.images.shape == (27, 3, 20, 20) and training.images.dtype == torch.uint8
    assert (len(validation), len(test)) == (3, 6)
    for part in (training, validation, test):
        assert set(part.labels.tolist()) == {0, 1, 2}
        for image, label in zip(part.images.float(), part.labels, strict=True):
            assert image.mean(dim=(1, 2)).argmax() == COLOURS[data.classes[label]]
    parts = names_in(data)
    assert sum(map(len, parts.values())) == 36 == len(set().union(*parts.values()))


def test_the_split_is_the_same_each_time_and_hardly_moves_when_a_picture_is_added(pictures):
    before = names_in(open_data(pictures, 20))
    shutil.rmtree(pictures / ".packed")
    assert names_in(open_data(pictures, 20)) == before
    Image.new("RGB", (40, 40), (250, 1, 2)).save(pictures / "train" / "red" / "new.png")
    after = names_in(open_data(pictures, 20))
    assert sum(len(after[part] - before[part]) for part in after) <= 3


def test_parts_that_are_there_are_taken_as_they_are(tmp_path):
    folder = draw_pictures(tmp_path, {"train": 5, "val": 2, "test": 3})
    data = open_data(folder, 16)
    training, validation = data.split()
    assert (len(training), len(validation), len(data.test())) == (15, 6, 9)


def test_normalisation_is_mean_and_spread_of_the_training_pictures_alone(pictures):
    training, validation = open_data(pictures, 20).split()
    pixels = training.images.double() / 255
    expected = [pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3), correction=0)]
    for found, own in zip(training.normalisation, expected, strict=True):
        np.testing.assert_allclose(found, own, atol=6e-5)
    assert validation.normalisation == training.normalisation


def test_pictures_of_one_colour_do_not_lead_to_a_division_by_nothing():
    flat = torch.full((5, 3, 4, 4), 255, dtype=torch.uint8)
    assert mean_and_spread(flat).mean == (1, 1, 1)
    assert min(mean_and_spread(flat).std) > 0


def test_pictures_are_decoded_once_even_when_their_times_change_and_again_when_their_content_does(
    pictures, monkeypatch
):
    open_data(pictures, 20)
    decoded = []
    read = kd_folder.read_photo
    monkeypatch.setattr(kd_folder, "read_photo", lambda path, **how: decoded.append(path) or read(path, **how))
    open_data(pictures, 20)
    some = next((pictures / "train" / "red").iterdir())
    some.touch()
    open_data(pictures, 20)
    assert decoded == []
    Image.new("RGB", (30, 30), (200, 0, 0)).save(some, "PNG")
    open_data(pictures, 20)
    assert len(decoded) == 36
    monkeypatch.setattr(kd_folder, "DECODED_AS", "another way")
    open_data(pictures, 20)
    assert len(decoded) == 72


def test_images_are_mapped_from_the_pack(pictures):
    training, _ = open_data(pictures, 20).split()
    (pack,) = (path.parent for path in (pictures / ".packed").glob("*/train"))
    assert training.images.numpy().tobytes() == (pack / "train").read_bytes()


def test_a_pack_larger_than_the_memory_can_be_mapped(tmp_path):
    images = 2 * kd_folder.memory_bytes() // 3 // 64**2
    with open(tmp_path / "train", "wb") as file:
        try:
            file.truncate(images * 3 * 64**2)  # a hole, which takes no room
        except OSError as error:
            pytest.skip(f"no file of that size can be made here: {error}")
    pixels = kd_folder._mapped(tmp_path / "train", (images, 3, 64, 64))
    assert pixels[-1].sum() == 0


def test_pictures_lie_in_folders_of_their_own_too(pictures):
    inside = pictures / "train" / "red" / "more" / "still more"
    inside.mkdir(parents=True)
    for path in sorted((pictures / "train" / "red").glob("*.*"))[:5]:
        path.rename(inside / path.name)
    data = open_data(pictures, 20)
    training, validation = data.split()
    assert len(training) + len(validation) + len(data.test()) == 36


def test_a_picture_that_could_not_be_read_is_taken_in_once_it_can(pictures):
    broken = pictures / "train" / "green" / "0.png"
    broken.write_bytes(b"no picture")
    assert sum(map(len, open_data(pictures, 20).split())) + len(open_data(pictures, 20).test()) == 35
    (note,) = (pictures / ".packed").glob("*.json")
    before = note.read_bytes()
    with pytest.MonkeyPatch.context() as patch:  # as if a reader had been installed since: the files are the same
        patch.setattr(kd_folder, "read_photo", lambda path, **_: Image.new("RGB", (9, 9)))
        data = open_data(pictures, 20)
    training, validation = data.split()
    assert len(training) + len(validation) + len(data.test()) == 36 and note.read_bytes() == before


def test_a_picture_that_may_not_be_opened_is_left_out(pictures, capsys, monkeypatch):
    def refusing(original):
        def call(path, *more, **how):
            if path.name == "0.png" and path.parent.name == "green":
                raise PermissionError(13, "Permission denied", str(path))
            return original(path, *more, **how)

        return call

    monkeypatch.setattr(kd_folder, "open", refusing(open), raising=False)
    monkeypatch.setattr(kd_folder, "read_photo", refusing(kd_folder.read_photo))
    open_data(pictures, 20)
    said = capsys.readouterr().err
    assert "1 pictures are left out" in said and "Permission denied" in said


def test_a_link_to_nowhere_is_named_and_left_out(pictures, capsys):
    (pictures / "train" / "green" / "link.png").symlink_to(pictures / "gone.png")
    data = open_data(pictures, 20)
    assert "1 pictures are left out" in (said := capsys.readouterr().err) and "link.png" in said
    assert sum(map(len, data.split())) + len(data.test()) == 36


def test_what_another_process_has_packed_meanwhile_stays(pictures, monkeypatch):
    write, packs = kd_folder._write_pack, []

    def write_after_another(*arguments):
        if not packs:
            packs.append(None)
            open_data(pictures, 20)
            (packs[0],) = (pictures / ".packed").glob("*/pack.json")
            packs.append(packs[0].stat().st_ino)
        write(*arguments)

    monkeypatch.setattr(kd_folder, "_write_pack", write_after_another)
    open_data(pictures, 20)
    assert packs[0].stat().st_ino == packs[1]
    assert not list((pictures / ".packed").glob("*.tmp"))


def test_a_mistyped_folder_is_no_place_to_download_to(tmp_path):
    (tmp_path / "Train" / "cat").mkdir(parents=True)
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError, match="neither train/ nor cifar-10-batches-py in .*an empty one to download"):
            open_data(folder, 32)


def test_a_folder_named_like_a_data_set_is_not_taken_for_it(pictures):
    named = pictures.rename(pictures.with_name("CIFAR-10"))
    training, _ = open_data(named, 20).split()
    assert training.description["name"] == "CIFAR-10 (a folder)"


def test_the_folder_train_itself_is_not_taken_for_the_one_that_holds_it(pictures, monkeypatch):
    monkeypatch.chdir(pictures / "train")
    for name in (pictures / "train", "."):
        with pytest.raises(DataError, match=f"name the folder that holds it, {pictures.resolve()}, or"):
            open_data(name, 20)


def test_a_folder_called_digits_is_itself(pictures, monkeypatch):
    pictures.rename(pictures.with_name("digits"))
    monkeypatch.chdir(pictures.parent)
    assert open_data("digits", 20).classes == ("blue", "green", "red")


def test_classes_without_train_above_them_are_not_taken_for_a_place_to_download_to(pictures):
    with pytest.raises(DataError, match="looks like a picture of a class, but .* has no train/"):
        open_data(pictures / "train", 32)


def test_a_broken_picture_is_named_and_left_out_and_stops_a_strict_run(pictures, capsys):
    broken = pictures / "train" / "green" / "0.png"
    broken.write_bytes(b"no picture")
    data = open_data(pictures, 20)
    said, found = capsys.readouterr().err, capsys.readouterr().out
    assert found == ""  # where a program may be reading
    assert "1 pictures are left out" in said and str(broken) in said and "not an image" in said
    training, validation = data.split()
    assert len(training) + len(validation) + len(data.test()) == 35
    assert training.description["left_out"] == 1
    with pytest.raises(DataError, match="cannot be read"):
        open_data(pictures, 20, strict=True)


def empty_a_class(folder):
    for path in (folder / "train" / "blue").iterdir():
        path.unlink()


def add_a_class_to_test_alone(folder):
    shutil.copytree(folder / "train", folder / "test")
    (folder / "test" / "pink").mkdir()


def name_two_classes_alike(folder):
    (folder / "train" / "Red").mkdir()


def leave_one_class(folder):
    for name in ("red", "green"):
        shutil.rmtree(folder / "train" / name)


def leave_two_pictures(folder):
    for path in sorted((folder / "train" / "red").iterdir())[2:]:
        path.unlink()


def damage_the_pack(folder):
    open_data(folder, 20)
    (pack,) = (folder / ".packed").glob("*/pack.json")
    pack.write_text("{}")


def break_a_whole_class(folder):
    for path in (folder / "train" / "red").iterdir():
        path.write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_a_class, "the class blue is empty"),
        (add_a_class_to_test_alone, "the class pink is in .*test, but not in .*train"),
        (name_two_classes_alike, "two classes that differ by case alone, Red and red"),
        (leave_one_class, "holds 1 classes: it takes 2 to 1000"),
        (leave_two_pictures, "holds 2 files: too few to part val and test"),
        (break_a_whole_class, "^no picture of the class red is left for train: .*red.* cannot be read .* take it away"),
        (lambda folder: (folder / "validation").mkdir(), "rename .*validation to val"),
        (lambda folder: (folder / "Valid").mkdir(), "rename .*Valid to val"),
        (damage_the_pack, "cannot be packed .* delete .*.packed, and they are packed anew"),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_reason(pictures, damage, message):
    damage(pictures)
    with pytest.raises(DataError, match=message):
        open_data(pictures, 20)


def test_the_picture_that_is_named_is_one_of_the_part_that_lacks_its_class(tmp_path):
    pictures = draw_pictures(tmp_path / "pictures", {"train": 4, "val": 2, "test": 2})
    min((pictures / "train" / "red").iterdir()).write_bytes(b"no picture")
    for path in (pictures / "test" / "red").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"no picture of the class red is left for test: .*test/red/.* cannot be read"):
        open_data(pictures, 20)


def test_what_programs_hide_beside_the_pictures_is_none_of_them(pictures):
    before = names_in(open_data(pictures, 20))
    (hidden := pictures / "train" / "red" / ".thumbnails").mkdir()
    for number, path in enumerate((pictures / "train" / "blue").iterdir()):
        shutil.copyfile(path, hidden / f"{number}{path.suffix}")
    assert names_in(open_data(pictures, 20)) == before


def test_a_folder_that_cannot_be_written_to_is_packed_in_the_users_cache(pictures, tmp_path, monkeypatch):
    (pictures / ".packed").write_text("in the way")  # to root, no folder is read-only
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert len(open_data(pictures, 20).test()) == 6
    (described,) = (tmp_path / "cache").rglob("pack.json")
    assert json.loads(described.read_text())["classes"] == sorted(COLOURS)
    described.write_text("{")
    with pytest.raises(DataError, match=f"delete {described.parent.parent}, and they are packed anew"):
        open_data(pictures, 20)


def test_a_pack_that_is_large_for_the_memory_is_read_in_a_random_order_of_blocks(pictures, monkeypatch):
    small, _ = open_data(pictures, 20).split()
    assert small.block is None
    monkeypatch.setattr(kd_folder, "memory_bytes", lambda: 100_000)
    large, _ = open_data(pictures, 20).split()
    assert large.block == kd_folder.BLOCK and large[torch.arange(3)].block is None


def test_an_order_of_blocks_takes_every_image_once_from_few_places_at_a_time(pictures, monkeypatch):
    monkeypatch.setattr("kd.dataset.BLOCKS_TOGETHER", 4)
    training = LabelledImages(torch.zeros(1000, 3, 1, 1), torch.zeros(1000, dtype=torch.int64), {}, block=10)
    first, again, other = (shuffled(training, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert sorted(first.tolist()) == list(range(1000))
    assert (first == again).all() and (first != other).any()
    together = [set(first[start : start + 40] // 10) for start in range(0, 1000, 40)]
    assert all(len(blocks) == 4 for blocks in together)
    assert len({min(blocks) for blocks in together}) > 20  # and the blocks themselves come in no order
    assert abs(np.corrcoef(np.arange(1000), first)[0, 1]) < 0.3
