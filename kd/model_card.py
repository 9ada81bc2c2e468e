"""The model card of a network on the Hugging Face Hub, made from its config.json and its results.json."""

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from kd import cifar10
from kd.checkpoint import epochs_before, has_foreign_weights, image_size_of
from kd.dataset import data_name
from kd.models import ROLE_NAMES, architecture_name

CARD = "README.md"
DATASET = "uoft-cs/cifar10"  # CIFAR-10's own name on the Hub

METRICS = {
    "accuracy": "Test accuracy",
    "nll": "Negative log-likelihood (nats)",
    "ece": "Expected calibration error",
    "agreement": "Agreement with the teacher",
}

_ROLES = {
    "teacher": "It is the teacher: the large network whose softened outputs, softmax(z / T), a small one learns from.",
    "student": "It is the baseline: a small network that learnt from the labels alone, to compare a distilled one to.",
    "distilled": (
        "It is a student that learnt from a teacher's softened outputs, softmax(z / T), as well as from the labels: "
        "the loss `{loss}` at T = {temperature:g} with weight {soft_weight:g}, cross-entropy with the rest."
    ),
}

_BODY = """# {name}

A {architecture} that classifies {size} x {size} images into {known}: {classes}. {role}

It was trained for {epochs} epochs on {config[data][trained_on]:,} images of {data}: recipe
`{config[recipe][name]}` ({config[stem]} stem), seed {config[seed]}, {config[machine]}.{otherwise}
config.json lists every hyper-parameter. {measured}

## Use

With the package `kd` of the project Dark Knowledge (`pip install .` in its folder):

```python
from kd.classifier import Classifier

network = Classifier.from_pretrained("OWNER/NAME")  # this repository, or a folder
print(network.classify("cat.png"))
```

config.json names the sha256 of every weight file, and reading verifies them. No code of this repository is executed.

## Limits

It predicts one of the {count} classes whatever the image shows, and it was shown nothing finer than {size} x {size}
pixels.
"""

_MEASURED = "The results in the metadata were measured after the last epoch, on {images:,} test images."
_NOT_MEASURED = "No results have been measured with these weights."


def model_card(config: dict, results: dict | None) -> ModelCard:
    """Describe a network; every number is quoted from the two files.

    Args:
        config: the checkpoint's config.json.
        results: results.json of this network alone (see `kd.results.network_results`), or None.
    """
    data, size = config["data"], image_size_of(config)
    count = "ten" if len(config["classes"]) == 10 else str(len(config["classes"]))
    ours = data["name"] == cifar10.NAME
    text = _BODY.format(
        name=_name(config),
        config=config,
        epochs=epochs_before(config) + config["epochs_done"],
        size=size,
        count=count,
        known="CIFAR-10's ten classes" if ours else f"the {count} classes of {data['name']}",
        architecture=architecture_name(config["architecture"]),
        classes=", ".join(config["classes"]),
        role=_ROLES[config["role"]].format(**config["recipe"]),
        data=data_name(data),
        otherwise="".join(f" {sentence}" for sentence in _otherwise(config)),
        measured=_MEASURED.format(images=results["data"]["images"]) if results else _NOT_MEASURED,
    )
    return ModelCard(f"---\n{card_data(config, results)}\n---\n\n{text}")


def _otherwise(config: dict) -> list[str]:
    """What else made the network: weights from elsewhere, and what was kept from it."""
    data, said = config["data"], []
    if has_foreign_weights(config):
        said.append("It began with weights from elsewhere, which config.json names.")
    if data.get("omitted_class"):
        said.append(f"No image of the class {data['omitted_class']} was among them: it names that class unreliably.")
    if data.get("labels"):
        said.append(f"Only {data['labels']:,} of their labels were told.")
    return said


def card_data(config: dict, results: dict | None) -> ModelCardData:
    """The card's metadata: what the Hub searches, filters and shows beside the card."""
    return ModelCardData(
        license="mit",
        library_name="dark-knowledge",
        pipeline_tag="image-classification",
        tags=["pytorch", "knowledge-distillation", "model_hub_mixin", config["architecture"]],
        datasets=[DATASET] if config["data"]["name"] == cifar10.NAME else None,
        metrics=["accuracy"],
        model_name=_name(config),
        eval_results=_eval_results(results["models"][config["role"]], results["data"]) if results else None,
    )


def _eval_results(measured: dict, data: dict) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=DATASET if data["name"] == cifar10.NAME else data["name"],
            dataset_name=data["name"],
            dataset_split=data["part"],
            dataset_args={"images": data["images"]},  # which tells a subset from the whole
            metric_type=metric,
            metric_name=name,
            metric_value=measured[metric],
        )
        for metric, name in METRICS.items()
    ]


def _name(config: dict) -> str:
    return f"{ROLE_NAMES[config['role']]} ({architecture_name(config['architecture'])})"
