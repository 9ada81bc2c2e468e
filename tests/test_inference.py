"""Many images in one batch, and checkpoints that the page cannot tell of."""

import json

import pytest
import torch

from kd import checkpoint
from kd.cifar10 import CLASSES
from kd.inference import BATCH, Trio
from kd.models import ROLES


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


def test_each_image_is_classified_by_its_own_logits(trio, carried_images):
    images = carried_images[:3]
    for timed, found in zip(trio.timed_logits(images), trio.classify_all(images, 2.0), strict=True):
        assert found["classes"] == list(CLASSES) and found["temperature"] == 2.0
        for role, model in found["models"].items():
            logits = torch.tensor(timed[role].logits)
            assert model["logits"] == pytest.approx(timed[role].logits, abs=1e-5)
            assert model["probabilities"] == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)
            assert model["softened"] == pytest.approx((logits / 2).softmax(0).tolist(), abs=1e-5)
            assert model["label"] == CLASSES[logits.argmax()]
            assert model["confidence"] == pytest.approx(logits.softmax(0).max().item(), abs=1e-5)


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
