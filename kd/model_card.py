"""The model card of a network on the Hugging Face Hub, made from its config.json and its results.json."""

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kd.models import ARCHITECTURES
from kd.results import ROLE_NAMES, results_table, training_sentences

CARD = "README.md"
LICENSE = "mit"
DATASET = "uoft-cs/cifar10"  # CIFAR-10's own name on the Hub

_ROLES = {
    "teacher": "It is the teacher: the large network whose softened outputs, softmax(z / T), a small one learns from.",
    "student": "It is the baseline: a small network that learnt from the labels alone, to compare a distilled one to.",
    "distilled": (
        "It is a student that learnt from a teacher's softened outputs, softmax(z / T), as well as from the labels: "
        "the loss `{loss}` at T = {temperature:g} with weight {soft_weight:g}, cross-entropy with the rest."
    ),
}

_BODY = """# {name}

A {architecture} that classifies 32 x 32 images into CIFAR-10's ten classes: {classes}. {role}

## Results

{results}
It was trained on {data}. config.json lists every hyper-parameter.

## Use

From the folder of the project Dark Knowledge, with its requirements installed:

```python
from torchvision.transforms.functional import pil_to_tensor

from kd.hub import Classifier
from kd.inference import read_photo, to_network_size

network = Classifier.from_pretrained("OWNER/NAME")  # this repository, or a folder
pixels = pil_to_tensor(to_network_size(read_photo("kd/demo/examples/cat.png")))
logits = network(pixels[None] / 255)[0]  # images are (N, 3, 32, 32), RGB, 0 to 1
print(network.config["classes"][logits.argmax()])
```

config.json names the sha256 of every weight file, and reading verifies them. No code of this repository is executed.

## Limits

It answers with one of the ten classes whatever the image shows, and it has seen nothing finer than 32 x 32 pixels.

MIT licence.
"""

NOT_MEASURED = "\n\nNo results have been measured with these weights.\n"


def model_card(config: dict, results: dict | None) -> ModelCard:
    """Describe a network; every number is quoted from the two files.

    Args:
        config: the checkpoint's config.json.
        results: results.json of this network alone (see `kd.results.results_of`), or None.
    """
    data = config["data"]
    text = _BODY.format(
        name=_name(config),
        architecture=ARCHITECTURES[config["architecture"]],
        classes=", ".join(config["classes"]),
        role=_ROLES[config["role"]].format(**config["recipe"]),
        results=results_table(results) if results else training_sentences({config["role"]: config}) + NOT_MEASURED,
        data=data["name"] + (f" ({data['copy']})" if "copy" in data else ""),
    )
    return ModelCard(f"---\n{card_data(config, results).to_yaml()}\n---\n\n{text}")


def card_data(config: dict, results: dict | None) -> ModelCardData:
    """The card's metadata: what the Hub searches, filters and shows beside the card."""
    return ModelCardData(
        license=LICENSE,
        library_name="dark-knowledge",
        pipeline_tag="image-classification",
        tags=["pytorch", "knowledge-distillation", "model_hub_mixin", config["architecture"]],
        datasets=[DATASET],
        metrics=["accuracy"],
        model_name=_name(config),
        eval_results=[_accuracy(config["role"], results)] if results else None,
    )


def _accuracy(role: str, results: dict) -> EvalResult:
    return EvalResult(
        task_type="image-classification",
        dataset_type=DATASET,
        dataset_name=results["data"]["name"],
        dataset_split=results["data"]["part"],
        dataset_args={"images": results["data"]["images"]},  # which tells a subset from the whole
        metric_type="accuracy",
        metric_name="test accuracy",
        metric_value=results["models"][role]["accuracy"],
    )


def _name(config: dict) -> str:
    return f"{ROLE_NAMES[config['role']]} ({ARCHITECTURES[config['architecture']]})"
