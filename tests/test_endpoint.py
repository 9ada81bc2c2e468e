"""The endpoint /classify through gradio_client, as a program calls it."""

import math

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from kd.cifar10 import CLASSES
from kd.recipe import ROLES
from tests.serving import ROOT

EXAMPLES = ROOT / "kd" / "demo" / "examples"


@pytest.fixture(scope="module")
def client(server):
    return Client(server, verbose=False)


def test_the_answer_has_the_promised_form(client):
    answer = client.predict(handle_file(EXAMPLES / "bird.png"), 2.0, api_name="/classify")
    assert set(answer) == {"classes", "temperature", "models"}
    assert answer["classes"] == list(CLASSES)
    assert answer["temperature"] == 2.0
    assert list(answer["models"]) == list(ROLES)
    for model in answer["models"].values():
        assert set(model) == {"logits", "probabilities", "softened", "label", "confidence", "milliseconds"}
        for temperature, key in ((1, "probabilities"), (2, "softened")):
            powers = [math.exp((z - max(model["logits"])) / temperature) for z in model["logits"]]
            assert model[key] == pytest.approx([power / sum(powers) for power in powers], abs=1e-6)
            assert sum(model[key]) == pytest.approx(1)
        assert model["confidence"] == max(model["probabilities"])
        assert model["label"] == CLASSES[model["probabilities"].index(model["confidence"])]
        assert model["milliseconds"] > 0


def test_the_temperature_is_4_unless_given(client):
    assert client.predict(image=handle_file(EXAMPLES / "bird.png"), api_name="/classify")["temperature"] == 4.0


def test_the_same_image_gets_the_same_logits_at_any_temperature(client):
    answers = [client.predict(handle_file(EXAMPLES / "deer.png"), t, api_name="/classify") for t in (0.5, 20)]
    for role in ROLES:
        assert answers[0]["models"][role]["logits"] == answers[1]["models"][role]["logits"]


@pytest.mark.parametrize("temperature", [0, -1, 1e9, "warm", None])
def test_a_wrong_temperature_gets_a_message(client, temperature):
    with pytest.raises(AppError, match="temperature"):
        client.predict(handle_file(EXAMPLES / "bird.png"), temperature, api_name="/classify")


def test_a_file_that_is_no_image_gets_a_message_and_the_next_image_an_answer(client, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("this is no image")
    with pytest.raises(AppError, match="not an image that can be read"):
        client.predict(handle_file(bad), api_name="/classify")
    assert client.predict(handle_file(EXAMPLES / "bird.png"), api_name="/classify")["models"]


def test_nothing_but_classify_is_published(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/classify"]
