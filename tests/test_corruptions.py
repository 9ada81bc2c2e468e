"""The damaged validation images: the same each time, and damaged as their names say."""

import torch

from kd.corruptions import NOISE, corrupted


def test_damage_is_the_same_each_time_and_another_for_each_name(subset):
    images = subset[1].images
    first, again = dict(corrupted(images)), dict(corrupted(images))
    assert set(first) == {"noise", "blur", "jpeg", "contrast"}
    for name, damaged in first.items():
        assert damaged.dtype == torch.uint8 and damaged.shape == images.shape
        assert torch.equal(damaged, again[name])
        assert all(not torch.equal(damaged, other) for key, other in first.items() if key != name)


def test_damage_is_what_its_name_says(subset):
    images = subset[1].images
    damaged = dict(corrupted(images))
    inner = (images > 60) & (images < 195)  # where noise is not cut off
    difference = (damaged["noise"].float() - images.float())[inner] / 255
    assert abs(difference.std().item() - NOISE) < 0.003 and abs(difference.mean().item()) < 0.003

    def roughness(pixels):
        return pixels.float().diff(dim=-1).abs().mean()

    assert roughness(damaged["blur"]) < 0.7 * roughness(images)
    assert damaged["contrast"].float().std(dim=(1, 2, 3)).max() < images.float().std(dim=(1, 2, 3)).max() / 2
    assert 1 < (damaged["jpeg"].float() - images.float()).abs().mean() < 15


def test_no_image_is_damaged_by_those_beside_it(subset):
    images = subset[1].images
    for (name, whole), (_, part) in zip(corrupted(images), corrupted(images[:7]), strict=True):
        assert torch.equal(whole[:7], part), name
