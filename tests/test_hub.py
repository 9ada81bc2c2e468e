"""Networks go to the Hub and come back bit for bit, and what cannot be fetched is refused with the way out.

The Hub is a stand-in on this machine (see tests/hub_stand_in.py).
"""

import json
import re
import runpy

import pytest
import torch
from huggingface_hub import ModelCard, ModelHubMixin, constants

from kd import checkpoint, inference
from kd.checkpoint import CheckpointError
from kd.cifar10 import CLASSES, NORMALISATIONS
from kd.classifier import Classifier
from kd.dataset import normalise
from kd.hub import local_folder
from kd.inference import pixels_of
from kd.model_card import model_card
from kd.models import ROLES
from kd.photo import read_photo, to_network_size
from kd.recipe import RECIPES
from kd.results import RESULTS, network_results, read_results
from tests.serving import ROOT

SHIPPED = ROOT / "checkpoints"


@pytest.fixture
def published(stand_in, checkpoints):
    """A repository with the three checkpoints, and with files that are none of theirs."""
    files = {str(path.relative_to(checkpoints)): path.read_bytes() for path in checkpoints.rglob("*") if path.is_file()}
    strangers = {"README.md": b"# Ours", "teacher/train.py": b"print()", "teacher/model.bin": b"pickle"}
    stand_in.repositories["model", "ann/cats"] = files | strangers
    return stand_in


images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def logits_of(network):
    with torch.no_grad():
        return network(images)


# The usual form


def test_a_network_takes_plain_images_and_normalises_them_by_its_own_constants(checkpoints):
    network = Classifier.from_pretrained(checkpoints / "student")
    plain, config = checkpoint.load(checkpoints / "student")
    assert isinstance(network, ModelHubMixin)
    assert not network.training
    assert torch.equal(logits_of(network), plain(normalise(images, NORMALISATIONS["seed-project"])))
    with pytest.raises(ValueError, match=r"\(5, 3, 28, 28\) instead of \(N, 3, 32, 32\)"):
        network(images[..., 2:30, 2:30])


@pytest.mark.parametrize("role", ROLES)
def test_saved_and_read_again_the_logits_are_the_same_bits(checkpoints, tmp_path, role):
    network = Classifier.from_pretrained(checkpoints / role)
    network.save_pretrained(tmp_path / "copy")
    again = Classifier.from_pretrained(tmp_path / "copy")
    assert torch.equal(logits_of(again), logits_of(network))
    assert again.config == network.config
    assert again.results == network.results == network_results(read_results(checkpoints), network.config)


def test_float16_is_kept_where_it_loses_nothing_and_only_there(checkpoints, tmp_path):
    network, config = checkpoint.load(checkpoints / "student")
    checkpoint.save(network, config, tmp_path / "half", half=True)
    half = Classifier.from_pretrained(tmp_path / "half")
    half.save_pretrained(tmp_path / "again")
    assert checkpoint.load_config(tmp_path / "again")["weights"] == half.config["weights"]

    with torch.no_grad():
        half.network[0].weight.add_(1e-6)
    half.save_pretrained(tmp_path / "changed")
    assert torch.equal(logits_of(Classifier.from_pretrained(tmp_path / "changed")), logits_of(half))


def test_changed_weights_lose_the_results_that_were_measured_with_others(checkpoints, tmp_path):
    network = Classifier.from_pretrained(checkpoints / "student")
    with torch.no_grad():
        network.network[0].weight.add_(0.1)
    network.save_pretrained(tmp_path / "changed")
    assert not (tmp_path / "changed" / RESULTS).exists()
    card = ModelCard.load(tmp_path / "changed" / "README.md")
    assert card.data.eval_results is None
    assert "No results have been measured with these weights." in card.text
    assert "%" not in card.text


def test_results_of_another_network_are_not_taken_for_ones_own(checkpoints):
    config = checkpoint.load_config(checkpoints / "student")
    results = read_results(checkpoints)
    assert network_results(results, config)["models"].keys() == {"student"}
    for change in ({"weights": {}}, {"role": "nobody"}):
        assert network_results(results, config | change) is None


def test_results_of_other_weights_of_the_same_recipe_are_not_taken_for_ones_own(checkpoints):
    config, results = checkpoint.load_config(checkpoints / "student"), read_results(checkpoints)
    results["models"]["student"]["weights"] = checkpoint.digest(config)
    assert network_results(results, config)
    name, file = next(iter(config["weights"].items()))
    trained_anew = config | {"weights": config["weights"] | {name: file | {"sha256": "0" * 64}}}
    assert network_results(results, trained_anew) is None


def test_a_checkpoint_of_other_classes_is_refused(checkpoints):
    path = checkpoints / "student" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["yes", "no"]}))
    with pytest.raises(CheckpointError, match="check classes"):
        Classifier.from_pretrained(checkpoints / "student")


def test_classify_gives_each_class_its_probability_the_greatest_first(checkpoints):
    network, ship = Classifier.from_pretrained(checkpoints / "student"), ROOT / "kd" / "demo" / "examples" / "ship.png"
    with torch.no_grad():
        logits = network(pixels_of([to_network_size(read_photo(ship))]))
    found = network.classify(ship)
    assert found == pytest.approx(dict(zip(CLASSES, logits[0].softmax(0).tolist(), strict=True)), abs=1e-6)
    assert len(set(found.values())) == 10 and list(found.values()) == sorted(found.values(), reverse=True)


# The card


def test_the_cards_numbers_are_those_of_the_files(checkpoints, tmp_path):
    Classifier.from_pretrained(checkpoints / "distilled").save_pretrained(tmp_path / "copy")
    card = ModelCard.load(tmp_path / "copy" / "README.md")
    results = {result.metric_type: result for result in card.data.eval_results}
    measured = read_results(checkpoints)["models"]["distilled"]
    assert {metric: result.metric_value for metric, result in results.items()} == {
        metric: measured[metric] for metric in ("accuracy", "nll", "ece", "agreement")
    }
    assert results["accuracy"].metric_value == 0.78125
    for result in results.values():
        assert (result.dataset_name, result.dataset_split) == ("CIFAR-10", "test")
        assert result.dataset_args == {"images": 100}
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "image-classification")
    assert "on 100 test images" in card.text
    recipe = RECIPES["original"]["distilled"]
    assert f"`{recipe.loss}` at T = {recipe.temperature:g} with weight {recipe.soft_weight:g}" in card.text
    assert "for 3 epochs on 450 images of CIFAR-10" in card.text and "seed 7" in card.text


def test_the_cards_example_runs_on_a_shipped_network_and_recognises_the_cat(tmp_path, capsys, monkeypatch):
    Classifier.from_pretrained(SHIPPED / "student").save_pretrained(tmp_path / "copy")
    example = re.search(r"```python\n(.*?)```", (tmp_path / "copy" / "README.md").read_text(), re.S)[1]
    monkeypatch.chdir(ROOT / "kd" / "demo" / "examples")
    exec(example.replace("OWNER/NAME", str(tmp_path / "copy")), {})
    assert capsys.readouterr().out.startswith("{'cat': ")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "copy" / name).read_bytes() == (SHIPPED / "student" / name).read_bytes()


def test_a_card_that_is_there_is_left_as_it_is(checkpoints, tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "README.md").write_text("by hand")
    Classifier.from_pretrained(checkpoints / "student").save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "README.md").read_text() == "by hand"


# There and back


def test_pushed_to_the_hub_and_read_from_it_the_logits_are_the_same_bits(checkpoints, stand_in):
    network = Classifier.from_pretrained(checkpoints / "teacher")
    network.push_to_hub("ann/teacher", token="hf_written")
    files = stand_in.repositories["model", "ann/teacher"]
    assert files.keys() == {"config.json", RESULTS, "README.md", *network.config["weights"]}
    assert stand_in.tokens == {"hf_written"}
    again = Classifier.from_pretrained("ann/teacher")
    assert torch.equal(logits_of(again), logits_of(network))
    assert again.results == network.results


def test_a_network_is_read_from_a_subfolder_of_a_repository_and_nothing_else_is_fetched(published, checkpoints):
    network = Classifier.from_pretrained("ann/cats", subfolder="teacher")
    assert torch.equal(logits_of(network), logits_of(Classifier.from_pretrained(checkpoints / "teacher")))
    assert network.results["models"].keys() == {"teacher"}
    fetched = {request.split("/", 5)[5] for request in published.requests if request.startswith("GET /ann")}
    assert fetched == {RESULTS, *(f"teacher/{name}" for name in ("config.json", *network.config["weights"]))}


def test_what_was_recorded_of_the_networks_comes_along_with_the_three_checkpoints(stand_in, checkpoints):
    (checkpoints / "student" / "recording.safetensors").write_bytes(b"moments")
    files = {str(path.relative_to(checkpoints)): path.read_bytes() for path in checkpoints.rglob("*") if path.is_file()}
    stand_in.repositories["model", "ann/cats"] = files
    assert (local_folder("hf://ann/cats") / "student" / "recording.safetensors").read_bytes() == b"moments"


def test_an_address_names_a_folder_with_the_three_checkpoints_and_their_results(published, checkpoints):
    folder = local_folder("hf://ann/cats")
    for role in ROLES:
        network, config = checkpoint.load(folder / role)
        assert torch.equal(logits_of(network), logits_of(checkpoint.load(checkpoints / role)[0]))
    assert read_results(folder) == read_results(checkpoints)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {path.relative_to(checkpoints).as_posix() for path in checkpoints.rglob("*") if path.is_file()}
    inference.Trio(folder)  # the page's networks


def test_a_revision_is_the_one_that_is_fetched(published):
    commit = published.commit(("model", "ann/cats"))
    assert local_folder(f"hf://ann/cats@{commit}").name == commit


def test_what_was_fetched_before_serves_without_a_connection(published, monkeypatch):
    folder = local_folder("hf://ann/cats")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert local_folder("hf://ann/cats") == folder


def test_a_folder_is_taken_as_it_is_and_the_hub_is_not_asked(stand_in, tmp_path):
    assert local_folder(tmp_path) == local_folder(str(tmp_path)) == tmp_path
    assert stand_in.requests == []


# What cannot be fetched


@pytest.mark.parametrize(
    "address", ["hf://", "hf://cats", "hf://ann/cats/teacher", "hf://ann/cats@", "hf://datasets/ann/cats"]
)
def test_what_is_no_address_of_a_repository_is_refused_without_asking(stand_in, address):
    with pytest.raises(CheckpointError, match="write hf://OWNER/NAME"):
        local_folder(address)
    assert stand_in.requests == []


def test_a_name_that_the_hub_forbids_is_refused(stand_in):
    with pytest.raises(CheckpointError, match="cannot be a repository's name: write OWNER/NAME"):
        local_folder("hf://ann/cats--dogs")


def test_a_repository_that_does_not_exist_is_named(stand_in):
    with pytest.raises(CheckpointError, match="ann/dogs .*no such model repository, or it is private.*hf auth login"):
        local_folder("hf://ann/dogs")


def test_a_revision_that_does_not_exist_is_named(published):
    with pytest.raises(CheckpointError, match="ann/cats@v9 .*no such revision"):
        local_folder("hf://ann/cats@v9")


@pytest.mark.parametrize(
    ("status", "code", "way_out"),
    [
        (403, "GatedRepo", "access is granted on request"),
        (401, "RepoNotFound", "private"),
        (403, "", "check that your token may read"),
        (500, "", "or try again"),
    ],
)
def test_a_refusal_is_told_with_its_way_out(published, status, code, way_out):
    published.refusals["ann/cats"] = (status, code)
    with pytest.raises(CheckpointError, match=f"ann/cats could not be fetched from the Hub: .*{way_out}"):
        local_folder("hf://ann/cats")


def test_a_hub_that_cannot_be_reached_is_told_with_its_way_out(stand_in, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="cannot be reached and no whole copy is kept here: connect"):
        local_folder("hf://ann/cats")


def test_offline_mode_is_told_with_its_way_out(stand_in, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE must not be set"):
        local_folder("hf://ann/cats")
    assert stand_in.requests == []


def test_a_repository_without_the_three_networks_is_refused(published):
    files = published.repositories["model", "ann/cats"]
    del files["distilled/config.json"], files["student/config.json"]
    with pytest.raises(CheckpointError, match=r"is missing student/config.json, distilled/config.json: .*hf upload"):
        local_folder("hf://ann/cats")


def test_weights_that_were_published_damaged_are_refused_and_not_to_be_trained_into_the_cache(published):
    shard = next(name for name in published.repositories["model", "ann/cats"] if name.startswith("student/model"))
    published.repositories["model", "ann/cats"][shard] += b"!"
    with pytest.raises(
        CheckpointError, match="is damaged.*delete .*models--ann--cats, so that it is fetched again"
    ) as caught:
        checkpoint.load(local_folder("hf://ann/cats") / "student")
    assert "python -m train" not in str(caught.value)


def test_the_app_ends_with_the_sentence_and_no_traceback(stand_in, monkeypatch):
    monkeypatch.setenv("KD_CHECKPOINTS", "hf://ann/dogs")
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "app.py"), run_name="__main__")
    assert caught.value.code.startswith("app.py: ann/dogs could not be fetched from the Hub: there is no such")


def test_a_card_says_what_was_kept_from_the_network():
    config = checkpoint.load_config(SHIPPED / "omitted-class")
    omitted = config["data"]["omitted_class"]
    assert f"No image of the class {omitted} was among them" in str(model_card(config, None))
    few = checkpoint.load_config(SHIPPED / "student")
    assert "of their labels were told" not in str(model_card(few, None))
    few["data"] |= {"labels": 1800, "label_fraction": 0.04}
    assert "Only 1,800 of their labels were told" in str(model_card(few, None))
