"""Scikit-learn's digits as a data set."""

import pytest
import torch

from kd.data_dir import open_data


def test_the_digits_are_grey_enlarged_and_parted_without_overlap():
    data = open_data("digits", 32)
    training, validation = data.split()
    test = data.test()
    assert len(training) + len(validation) + len(test) == 1797
    assert len(test) == pytest.approx(0.3 * 1797, abs=5)
    for part in (training, validation, test):
        assert part.images.shape[1:] == (3, 32, 32)
        assert torch.equal(part.images[:, 0], part.images[:, 2])
        assert part.labels.unique().tolist() == list(range(10))
    pictures = {image.numpy().tobytes() for part in (training, validation, test) for image in part.images}
    assert len(pictures) == 1797


def test_an_image_has_the_same_index_whichever_part_it_is_asked_from():
    training, validation = open_data("digits", 16).split()
    together = torch.cat([training.index, validation.index])
    assert sorted(together.tolist()) == list(range(len(together)))
