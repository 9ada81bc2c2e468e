"""The corrupted validation images: the same each time, and corrupted as their names say."""

import torch

from kd.corruptions import NOISE, corrupted


def test_corruption_is_the_same_each_time_and_another_for_each_name(subset):
    images = subset[1].images
    first, again = dict(corrupted(images)), dict(corrupted(images))
    assert set(first) == {"noise", "blur", "jpeg", "contrast"}
    for name, changed in first.items():
        assert changed.dtype == torch.uint8 and changed.shape == images.shape
        assert torch.equal(changed, again[name])
        assert all(not torch.equal(changed, other) for key, other in first.items() if key != name)


def test_corruption_is_what_its_name_says(subset):
    images = subset[1].images
    found = dict(corrupted(images))
    inner = (images > 60) & (images < 195)  # where noise is not cut off
    difference = (found["noise"].float() - images.float())[inner] / 255
    assert abs(difference.std().item() - NOISE) < 0.003 and abs(difference.mean().item()) < 0.003

    def roughness(pixels):
        return pixels.float().diff(dim=-1).abs().mean()

    assert roughness(found["blur"]) < 0.7 * roughness(images)
    assert found["contrast"].float().std(dim=(1, 2, 3)).max() < images.float().std(dim=(1, 2, 3)).max() / 2
    assert 1 < (found["jpeg"].float() - images.float()).abs().mean() < 15


def test_no_image_is_corrupted_by_those_beside_it(subset):
    images = subset[1].images
    for (name, whole), (_, part) in zip(corrupted(images), corrupted(images[:7]), strict=True):
        assert torch.equal(whole[:7], part), name
