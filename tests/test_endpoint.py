"""The endpoint /classify through gradio_client, as a program calls it."""

import math

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from kd.cifar10 import CLASSES
from kd.demo.crowd import MAX_IMAGES
from kd.models import ROLES
from tests.serving import ROOT, api_client

EXAMPLES = ROOT / "kd" / "demo" / "examples"


@pytest.fixture(scope="module")
def client(server):
    return api_client(server)


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


# A list of images


def test_a_list_gets_a_list_of_the_answers_that_each_image_gets_alone(client):
    names = ("bird", "ship", "dog")
    answers = client.predict([handle_file(EXAMPLES / f"{name}.png") for name in names], 2.0, api_name="/classify")
    for name, answer in zip(names, answers, strict=True):
        alone = client.predict(handle_file(EXAMPLES / f"{name}.png"), 2.0, api_name="/classify")
        assert answer["classes"] == alone["classes"] and answer["temperature"] == alone["temperature"]
        for role in ROLES:
            assert answer["models"][role]["label"] == alone["models"][role]["label"]
            for key in ("logits", "probabilities", "softened"):
                assert answer["models"][role][key] == pytest.approx(alone["models"][role][key], abs=1e-3)


def test_a_bad_image_in_a_list_is_named_by_its_position_and_loses_no_other(client, tmp_path):
    (tmp_path / "bad.png").write_text("this is no image")
    (tmp_path / "empty.png").touch()
    paths = [EXAMPLES / "bird.png", tmp_path / "bad.png", EXAMPLES / "ship.png", tmp_path / "empty.png"]
    answers = client.predict([handle_file(path) for path in paths], api_name="/classify")
    assert [set(answer) for answer in answers[::2]] == [{"classes", "temperature", "models"}] * 2
    assert answers[1]["error"].startswith("Image 2 of 4: This file is not an image")
    assert answers[3]["error"].startswith("Image 4 of 4: The file is empty")


@pytest.mark.parametrize("count", [0, MAX_IMAGES + 1])
def test_a_list_of_no_or_too_many_images_gets_a_message(client, count):
    with pytest.raises(AppError, match=f"1 to {MAX_IMAGES} images at once, not {count}"):
        client.predict([{}] * count, api_name="/classify")


@pytest.mark.parametrize("temperature", [0, "warm", None])
def test_a_wrong_temperature_for_a_list_gets_a_message(client, temperature):
    with pytest.raises(AppError, match="The temperature is wrong"):
        client.predict([handle_file(EXAMPLES / "bird.png")], temperature, api_name="/classify")


@pytest.mark.parametrize("nonsense", [None, 3, "cat", {}, {"path": None}, {"path": 3}, {"path": "a\0b"}, {"path": ""}])
def test_what_is_no_upload_gets_a_message(client, nonsense):
    with pytest.raises(AppError, match="^This is not an uploaded file"):
        client.predict(nonsense, api_name="/classify")
    (answer,) = client.predict([nonsense], api_name="/classify")
    assert answer["error"].startswith("Image 1 of 1: This is not an uploaded file")


def test_the_api_page_tells_types_limits_and_an_example(client):
    described = client.view_api(return_format="dict")["named_endpoints"]["/classify"]
    assert described["parameters"][0]["python_type"]["type"] == "filepath | list[filepath]"
    assert described["returns"][0]["python_type"]["type"] == "dict(str, Any) | list[dict(str, Any)]"
    for part in (f"up to {MAX_IMAGES} images", "handle_file(", "Image 2 of 3"):
        assert part in described["description"]
