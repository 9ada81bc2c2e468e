"""Many images in one batch, and checkpoints that the page cannot tell of."""

import json

import pytest

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.inference import BATCH, Trio
from kd.models import ROLES
from kd.photo import Crop, to_network_size
from tests.pictures import stripes


def test_many_images_get_the_logits_that_each_gets_alone_in_their_order(checkpoints, carried_images):
    trio = Trio(checkpoints)
    images = carried_images[: BATCH + 3]
    together = trio.timed_logits(images)
    assert len(together) == len(images)
    for image, by_role in zip(images, together, strict=True):
        assert list(by_role) == list(ROLES)
        for role, alone in trio.timed_logits([image])[0].items():
            assert by_role[role].logits == pytest.approx(alone.logits, abs=1e-5)
            assert by_role[role].milliseconds > 0


def test_no_image_gets_no_logits(trio):
    assert trio.timed_logits([]) == []


def test_no_more_than_a_batch_is_in_memory_at_once(checkpoints, carried_images):
    trio, sizes = Trio(checkpoints), []
    for network in trio.networks.values():
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    trio.timed_logits(carried_images[: 2 * BATCH + 1])
    assert sizes == [BATCH, BATCH, 1] * len(ROLES)


def test_classify_all_gives_what_classify_gives(trio, carried_images):
    for image, classified in zip(carried_images[:3], trio.classify_all(carried_images[:3], 2.0), strict=True):
        alone = trio.classify(image, 2.0)
        assert classified["classes"] == alone["classes"] and classified["temperature"] == 2.0
        for role in ROLES:
            assert set(classified["models"][role]) == set(alone["models"][role])
            assert classified["models"][role]["label"] == alone["models"][role]["label"]
            assert classified["models"][role]["softened"] == pytest.approx(alone["models"][role]["softened"], abs=1e-4)


def test_classify_looks_at_the_square_it_is_told_to(trio):
    photo, right = stripes(900, 300), Crop(across=1)
    logits = trio.classify(photo, 1.0, right)["models"]["teacher"]["logits"]
    assert logits == trio.timed_logits([to_network_size(photo, right)])[0]["teacher"].logits
    assert logits != pytest.approx(trio.classify(photo, 1.0)["models"]["teacher"]["logits"], abs=1e-2)


@pytest.mark.parametrize(
    "damage",
    [{"recipe": {}}, {"recipe": {"name": "strong", "stem": "cifar"}}, {"data": {}}, {"data": {"trained_on": "many"}},
     {"normalisation": {}}, {"classes": list(CLASSES[1:])}, {"role": "teacher"}, {"machine": None, "recipe": []}],
    ids=str,
)  # fmt: skip
def test_what_the_page_cannot_tell_of_a_checkpoint_is_named_when_it_is_loaded(checkpoints, damage):
    config = json.loads((checkpoints / "student" / "config.json").read_text())
    (checkpoints / "student" / "config.json").write_text(json.dumps(config | damage))
    with pytest.raises(checkpoint.CheckpointError, match=str(checkpoints / "student")):
        Trio(checkpoints)
