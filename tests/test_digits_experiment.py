"""Hinton's experiment on scikit-learn's digits, `python -m train.digits`, from nothing to the page."""

import contextlib
import io
import subprocess
from types import SimpleNamespace

import pytest

from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.data_dir import open_data
from kd.demo.omitted_class import cards_of, game_view, read_omitted_class
from kd.demo.page import stage_of
from kd.demo.pictures import picture_url
from kd.demo.recordings import read_recorded
from kd.digits import CLASSES
from kd.inference import Trio
from kd.models import SCRIPT_OF_ROLE
from kd.photo import read_photo
from kd.recipe import RECIPES
from kd.results import read_results
from kd.studies.claims import claims
from kd.studies.ledger import read_studies
from train import digits, evaluate, study
from train.run import main as train_run

ROLE_OF_SCRIPT = {script: role for role, script in SCRIPT_OF_ROLE.items()}

pytestmark = pytest.mark.slow  # it trains seven networks


class CommandHere:
    """Carries a command out in this process, in place of a `Popen`: a new one takes seconds to import torch."""

    returncode = 0

    def __init__(self, command, stdout, **_):
        module, *arguments = command[2:]
        with contextlib.redirect_stdout(stdout):
            train_run(ROLE_OF_SCRIPT[module], arguments)

    def poll(self):
        return self.returncode


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The folder that `python -m train.digits` makes with one seed and a smaller teacher, and what it says."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.setattr(study, "subprocess", SimpleNamespace(Popen=CommandHere, STDOUT=subprocess.STDOUT))
        patch.setattr(study, "POLL_SECONDS", 0)
        patch.setitem(RECIPES["digits"], "teacher", RECIPES["digits"]["teacher"].changed(network="convnet-16"))
        digits.main(["--output-dir", str(folder), "--seeds", "1"])
    return folder, said.getvalue()


def test_the_experiment_ends_with_networks_that_read_digits_and_with_the_way_to_the_page(experiment):
    folder, said = experiment
    results = read_results(folder)
    assert results["data"]["name"] == "scikit-learn's digits"
    assert results["models"]["teacher"]["accuracy"] > 0.9
    assert results["models"]["distilled"]["accuracy"] > 0.8
    assert list(results["models"]["teacher"]["per_class_accuracy"]) == list(CLASSES)
    assert results["out_of_class"] is None
    assert said.rstrip().endswith(f"KD_CHECKPOINTS={folder} python app.py")


def test_its_study_measures_the_omitted_three_and_claims_what_one_seed_allows(experiment):
    folder, _ = experiment
    studies = read_studies(folder)
    taught = next(arm for arm in studies["digits-omitted-class"].arms if arm.role == "distilled")
    (run,) = taught.runs
    assert taught.omitted_class == "three"
    assert run["omitted_class"]["before"]["others"] > 0.7
    assert [claim.verdict for claim in claims(studies)] == ["ONE SEED", "ONE SEED"]


def test_a_checkpoint_says_of_what_it_was_trained_on_all_that_the_page_needs(experiment):
    folder, _ = experiment
    config = checkpoint.load_config(folder / "distilled")
    training, _ = open_data("digits", 32).split()
    assert (config["classes"], config["image_size"]) == (list(CLASSES), 32)
    assert config["normalisation"]["name"] == "data"
    assert config["normalisation"]["mean"] == list(training.normalisation.mean)


def test_the_page_shows_the_digits_with_what_it_has_of_them(experiment):
    folder, _ = experiment
    trio = Trio(folder)
    stage, recorded = stage_of(trio)
    examples = stage.props["examples"]
    assert [example["example"] for example in examples] == list(CLASSES)
    assert stage.props["classes"] == list(CLASSES)
    assert "scikit-learn's digits" in stage.props["note"] and "Krizhevsky" not in stage.props["note"]
    assert recorded.views["map"] == {} and recorded.views["replay"]["students"].keys() == {"student", "distilled"}
    assert trio.warner is None
    assert read_recorded(folder, examples).missing == ["The map of classes is left out: it is CIFAR-10's"]


def test_the_games_cards_are_digits_of_its_students_omitted_class(experiment):
    folder, _ = experiment
    omitted = read_omitted_class(folder)
    game = game_view(omitted, cards_of(omitted, omitted.pictures)).props
    assert (game["omitted"], game["classes"]) == ("three", list(CLASSES))
    shown = [picture_url(read_photo(folder / "examples" / f"three-{number}.png")) for number in range(1, 7)]
    assert [card["picture"] for card in game["cards"]] == shown


def test_networks_of_digits_are_not_measured_on_other_data(experiment, data_dir):
    folder, _ = experiment
    with pytest.raises(SystemExit, match="name its data with --data-dir"):
        evaluate.main(["--checkpoints", str(folder), "--data-dir", str(data_dir)])


def test_a_teacher_of_digits_teaches_nothing_else(experiment, data_dir, tmp_path):
    folder, _ = experiment
    arguments = ["--data-dir", str(data_dir), "--output-dir", str(tmp_path), "--normalisation", "data"]
    with pytest.raises(SystemExit, match="knows other classes"):
        train_run("distilled", ["--teacher", str(folder / "teacher"), *arguments, "--device", "cpu"])


def test_without_examples_of_its_own_the_page_says_how_to_choose_them(experiment, tmp_path):
    folder, _ = experiment
    for role in ("teacher", "student", "distilled"):
        (tmp_path / role).symlink_to(folder / role)
    with pytest.raises(CheckpointError, match="python -m train.choose_examples --checkpoints"):
        stage_of(Trio(tmp_path))
