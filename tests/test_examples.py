"""How the page's ten examples are chosen, and that those that ship fit the networks that ship."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from kd.cifar10 import CLASSES, read_test_set
from kd.inference import read_photo, to_network_size
from kd.recipe import ROLES
from tests.browser import EXAMPLES
from train import choose_examples
from train.choose_examples import choose, jensen_shannon


def test_jensen_shannon_is_0_for_equal_distributions_and_the_log_of_their_number_for_disjoint_ones():
    disjoint = [torch.eye(3)[[k]] for k in range(3)]
    assert jensen_shannon(disjoint).item() == pytest.approx(math.log(3))
    same = torch.tensor([[0.2, 0.5, 0.3]])
    assert jensen_shannon([same, same, same]).item() == pytest.approx(0, abs=1e-7)
    a, b = np.array([0.9, 0.1]), np.array([0.4, 0.6])
    mean = (a + b) / 2
    expected = 0.5 * (a * np.log(a / mean)).sum() + 0.5 * (b * np.log(b / mean)).sum()
    assert jensen_shannon([torch.from_numpy(p)[None] for p in (a, b)]).item() == pytest.approx(expected)


def logits_of(first, second, lead=3.0):
    """Ten logits: one class first, another second, `lead` above it."""
    z = torch.zeros(10)
    z[first], z[second] = 6.0, 6.0 - lead
    return z


def choose_among(images):
    """`choose` on images given as {role: logits} with a label each, and one where all agree for each other class."""
    labels = [label for label, _ in images] + list(range(10))
    agreed = [dict.fromkeys(ROLES, logits_of(k, (k + 1) % 10)) for k in range(10)]
    rows = [logits for _, logits in images] + agreed
    return choose({role: torch.stack([row[role] for row in rows]) for role in ROLES}, torch.tensor(labels))


def test_where_the_distilled_student_follows_the_teacher_and_the_other_does_not_is_chosen_the_widest_apart():
    bird, cat, truck = 2, 3, 9
    follows = {"teacher": logits_of(bird, cat), "student": logits_of(cat, bird), "distilled": logits_of(bird, cat)}
    wider = follows | {"student": logits_of(cat, bird, lead=5.0)}
    absurd = follows | {"student": logits_of(truck, cat, lead=6.0)}  # the label is not among its first two
    chosen = choose_among([(bird, follows), (bird, wider), (bird, absurd)])
    assert chosen[bird] == ("follows", 1)


def test_where_the_teacher_doubts_is_chosen_in_every_other_class():
    cat, dog = 3, 5
    sure = {"teacher": logits_of(cat, dog, 5.0), "student": logits_of(dog, cat, 5.0), "distilled": logits_of(cat, dog)}
    doubts = {"teacher": logits_of(cat, dog, 0.1), "student": logits_of(cat, dog), "distilled": logits_of(dog, cat)}
    assert choose_among([(cat, sure), (cat, doubts)])[cat] == ("doubts", 1)


def test_a_class_in_which_the_networks_agree_still_gets_an_example():
    assert [kind for kind, _ in choose_among([])] == ["differs"] * 10


def test_the_command_writes_ten_images_of_the_data_set_with_their_labels(tmp_path, data_dir):
    choose_examples.main(["--data-dir", str(data_dir), "--output-dir", str(tmp_path)])
    test = read_test_set(data_dir)
    content = json.loads((tmp_path / "examples.json").read_text())
    assert "Krizhevsky" in content["source"] and content["licence"]
    for name, example in zip(CLASSES, content["examples"], strict=True):
        assert (example["file"], example["label"]) == (f"{name}.png", name)
        assert CLASSES[test.labels[example["test_index"]]] == name
        written = np.asarray(Image.open(tmp_path / example["file"]))
        assert (written == test.images[example["test_index"]].permute(1, 2, 0).numpy()).all()


def test_the_shipped_examples_were_chosen_for_the_shipped_networks(trio):
    examples = json.loads((EXAMPLES / "examples.json").read_text())["examples"]
    for example in examples:
        answers = trio.classify(to_network_size(read_photo(EXAMPLES / example["file"])), 1.0)["models"]
        said = {role: answer["label"] for role, answer in answers.items()}
        assert said == example["answers"], "choose them anew: python -m train.choose_examples"
    following = [example for example in examples if example["kind"] == "follows"]
    assert len(following) >= 3
    for example in following:
        answers = example["answers"]
        assert answers["teacher"] == answers["distilled"] == example["label"] != answers["student"]
