"""Exported networks answer as the network does, say what they are, and stay only where they are good enough."""

import copy
import functools
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import train.export
from kd import checkpoint, evaluation, export, models
from kd.cifar10 import CLASSES
from kd.classifier import Classifier
from kd.files import write_json
from tests.commands import refusal
from tests.configs import made_config
from tests.serving import ROOT
from train.export import EXPORT, FILES, exports_table, read_record

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
for package in ("onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="the extra `export` is not installed")

CONFIG = made_config("student", "strong")


@pytest.fixture(scope="module")
def classifier(make_network, subset):
    """The small network, its norm layers used to the images."""
    network = make_network()
    for _ in range(20):
        network(subset[0].images[:200].float() / 255)
    return Classifier(network, CONFIG).eval()


@pytest.fixture(scope="module")
def model(classifier):
    """The small network as ONNX."""
    return export.to_onnx(classifier)


@pytest.fixture
def small_checkpoint(classifier, make_network, tmp_path, monkeypatch):
    """The small network as a checkpoint that can be loaded."""
    monkeypatch.setattr(checkpoint.models, "build", lambda *_: make_network())
    checkpoint.save(classifier.network, CONFIG, tmp_path / "student")
    return tmp_path / "student"


@pytest.fixture
def command(data_dir, tmp_path, monkeypatch):
    """Runs the command in this process, with few rounds of timing; returns what export.json says."""
    monkeypatch.setattr(evaluation, "LATENCY_RUNS", 2)
    output = tmp_path / "exports"

    def run(folder, *arguments):
        train.export.main([*map(str, (folder, "--output", output, "--data-dir", data_dir, *arguments))])
        return json.loads((output / EXPORT).read_text())

    return run


@pytest.fixture
def exported_before(model, monkeypatch):
    """Exporting takes seconds: where it is not what is tested, the small network's graph is there already."""
    monkeypatch.setattr(export, "to_onnx", lambda classifier: model)


refusal_of_export = functools.partial(refusal, train.export.main)


def images(count):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))


# The graph


@pytest.mark.parametrize("count", [1, 7])
@torch.inference_mode()
def test_onnx_takes_images_as_they_are_in_any_number_and_answers_as_pytorch(classifier, model, count):
    onnx.checker.check_model(model, full_check=True)
    torch.testing.assert_close(
        export.onnx_network(model)(images(count)), classifier(images(count)), atol=1e-5, rtol=1e-5
    )


@pytest.fixture(scope="module")
def pt2(classifier):
    return export.to_pt2(classifier)


@torch.inference_mode()
def test_pt2_takes_images_as_they_are_in_any_number_and_answers_as_pytorch(classifier, pt2):
    program = torch.export.load(io.BytesIO(pt2)).module()
    for count in (1, 7):
        torch.testing.assert_close(program(images(count)), classifier(images(count)), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "stem"), [("resnet50", "imagenet"), ("mobilenet_v2", "cifar")])
@torch.inference_mode()
def test_the_real_networks_come_through_whole(architecture, stem):
    torch.manual_seed(0)
    network = models.build(architecture, stem)
    for module in network.modules():  # else the norm layers do nothing, and a lost one would not be noticed
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    classifier = Classifier(network, CONFIG).eval()
    expected = classifier(images(3))
    found = export.onnx_network(export.to_onnx(classifier))(images(3))
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)


@torch.inference_mode()
def test_float16_weights_take_half_the_space_and_hardly_move_the_logits(classifier, model):
    smaller = export.with_float16_weights(model, classifier)
    onnx.checker.check_model(smaller, full_check=True)
    stored = {
        each.name: each.data_type for each in smaller.graph.initializer if len(each.dims) > 1 and each.dims[0] > 3
    }
    stored = {name: kind for name, kind in stored.items() if not name.endswith(".factor")}
    assert set(stored.values()) == {onnx.TensorProto.FLOAT16} and len(stored) == 3  # two convolutions, one linear layer
    torch.testing.assert_close(export.onnx_network(smaller)(images(7)), classifier(images(7)), atol=5e-3, rtol=0)


@torch.inference_mode()
def test_the_float16_model_of_a_checkpoint_in_float16_answers_as_the_checkpoint(classifier, subset):
    half = copy.deepcopy(classifier)  # as kd.checkpoint.save stores it
    for name, tensor in half.state_dict().items():
        if tensor.ndim > 1:
            half.state_dict()[name].copy_(tensor.half())
    pixels = subset[1].images.float() / 255
    smaller = export.with_float16_weights(export.to_onnx(half), half)
    torch.testing.assert_close(export.onnx_network(smaller)(pixels), half(pixels), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_quantised_weights_are_int8_and_the_logits_stay_near(classifier, model, subset):
    training, validation = subset
    smaller = export.quantised(model, training.images)
    stored = {each.data_type for each in smaller.graph.initializer if len(each.dims) == 4}
    assert stored == {onnx.TensorProto.INT8}
    own = export.network_logits(classifier, validation.images, "")
    logits = export.network_logits(export.onnx_network(smaller), validation.images, "")
    assert 0 < (logits - own).abs().max() < 0.1 * (own.max() - own.min())


def test_every_form_carries_classes_temperature_and_provenance(classifier, model, pt2, subset):
    files = {export.METADATA: ""}
    torch.export.load(io.BytesIO(pt2), extra_files=files)
    forms = [model, export.with_float16_weights(model, classifier), export.quantised(model, subset[0].images[:50])]
    for carried in [json.loads(files[export.METADATA]), *({p.key: p.value for p in m.metadata_props} for m in forms)]:
        assert json.loads(carried["classes"]) == list(CLASSES)
        assert carried["temperature"] == "4"
        assert json.loads(carried["config"]) == json.loads(json.dumps(CONFIG))
        assert "[0, 1]" in carried["input"] and "(N, 10)" in carried["output"]


def test_no_form_tells_where_it_was_made(model, pt2):
    for content in (model.SerializeToString(), pt2):
        assert b"site-packages" not in content and str(Path(export.__file__).parent).encode() not in content


# The command


def test_writes_onnx_and_measures_it_against_pytorch(command, small_checkpoint, capsys):
    exported = command(small_checkpoint, "--float16")
    output = small_checkpoint.parent / "exports"
    assert {path.name for path in output.iterdir()} == {FILES["float32"], FILES["float16"], EXPORT}
    assert exported["data"]["compared_on"] == 50
    assert exported["weights"] == checkpoint.load_config(small_checkpoint)["weights"]
    for name, file in exported["files"].items():
        assert file["bytes"] == (output / name).stat().st_size
        assert file["accuracy"] == exported["pytorch"]["accuracy"] and file["agreement"] == 1
        assert 0 < file["largest_difference"] < 5e-3
        assert file["latency_ms"] > 0
    said = capsys.readouterr().out
    assert "| Student alone (MobileNetV2) | ONNX, float32 |" in said and str(output / FILES["float16"]) in said


class Branching(nn.Sequential):
    """A network that no exporter can trace."""

    def forward(self, images):
        return super().forward(images) * (1 if images.mean() > 0.5 else 2)


def test_a_network_that_cannot_be_traced_leaves_the_former_export(command, small_checkpoint, make_network, monkeypatch):
    monkeypatch.setattr(checkpoint.models, "build", lambda *_: Branching(*make_network()))
    output = small_checkpoint.parent / "exports"
    output.mkdir()
    for name in (EXPORT, FILES["float32"]):
        (output / name).write_text("former")
    with pytest.raises(SystemExit, match="cannot be traced for --format pt2 .*must not branch"):
        command(small_checkpoint, "--format", "pt2")
    assert {path.name: path.read_text() for path in output.iterdir()} == {EXPORT: "former", FILES["float32"]: "former"}


@pytest.mark.parametrize(
    ("form", "sentence"),
    [("--int8", "cannot be quantised .*Leave out --int8"), ("--float16", "cannot be loaded .*--format pt2")],
)
def test_a_graph_that_onnx_runtime_does_not_know_leaves_the_former_export(
    command, model, small_checkpoint, monkeypatch, form, sentence
):
    monkeypatch.chdir(small_checkpoint.parent)
    strange = copy.deepcopy(model)
    strange.graph.node[0].op_type = "Strange"
    monkeypatch.setattr(export, "to_onnx", lambda classifier: strange)
    output = small_checkpoint.parent / "exports"
    output.mkdir()
    (output / EXPORT).write_text("former")
    with pytest.raises(SystemExit, match=sentence):
        command(small_checkpoint, form)
    assert [(path.name, path.read_text()) for path in output.iterdir()] == [(EXPORT, "former")]
    assert {path.name for path in Path().iterdir()} == {"student", "exports"}


def test_of_larger_images_fewer_are_computed_at_once():
    sizes = []
    images = torch.zeros(12, 3, 224, 224, dtype=torch.uint8)
    export.network_logits(lambda batch: sizes.append(len(batch)) or torch.zeros(len(batch), 10), images, "")
    assert sizes == [5, 5, 2]


def test_pt2_replaces_the_export_that_was_there(command, exported_before, small_checkpoint):
    command(small_checkpoint)
    exported = command(small_checkpoint, "--format", "pt2")
    output = small_checkpoint.parent / "exports"
    assert {path.name for path in output.iterdir()} == {FILES["pt2"], EXPORT}
    assert set(exported["versions"]) == {"torch"}
    assert exported["files"][FILES["pt2"]]["largest_difference"] < 1e-5


@pytest.mark.parametrize(("lost", "kept"), [(0.005, True), (0.006, False)])
def test_int8_stays_only_within_half_a_point(
    command, exported_before, small_checkpoint, monkeypatch, capsys, lost, kept
):
    accuracies = iter([0.8, 0.8, 0.8 - lost])  # PyTorch's, float32's, int8's
    monkeypatch.setattr(train.export.evaluation, "accuracy", lambda logits, labels: next(accuracies))
    exported = command(small_checkpoint, "--int8")
    assert (small_checkpoint.parent / "exports" / FILES["int8"]).exists() == kept
    assert exported["files"][FILES["int8"]]["kept"] == kept
    assert exported["calibrated_on"] == 450
    said = "int8 is not kept: its accuracy, 79.40%, is more than 0.5 points below PyTorch's, 80.00%"
    assert (said in capsys.readouterr().out) == (not kept)


def test_record_gathers_networks(command, exported_before, small_checkpoint, tmp_path, capsys):
    other = shutil.copytree(small_checkpoint, tmp_path / "other")
    record = tmp_path / "exports.json"
    first = command(small_checkpoint, "--record", record)
    capsys.readouterr()
    second = command(other, "--record", record)
    assert json.loads(record.read_text()) == {"student": first, "other": second}
    assert capsys.readouterr().out.count("| ONNX, float32 |") == 2


def test_one_command_exports_several_networks_in_every_form_and_writes_the_table_of_them(
    exported_before, small_checkpoint, data_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(evaluation, "LATENCY_RUNS", 2)
    teacher = shutil.copytree(small_checkpoint, tmp_path / "teacher")
    config = checkpoint.load_config(teacher) | {"role": "teacher", "architecture": "resnet50"}
    write_json(teacher / checkpoint.CONFIG, config)
    document, record = tmp_path / "document.md", tmp_path / "exports.json"
    document.write_text("before\n<!-- exports -->\nold\n<!-- end of exports -->\nafter\n")
    arguments = [
        teacher, small_checkpoint, "--output", tmp_path / "exports", "--data-dir", data_dir, "--float16", "--int8",
        "--format", "onnx", "--format", "pt2", "--record", record, "--document", document,
    ]  # fmt: skip
    train.export.main([*map(str, arguments)])
    found = json.loads(record.read_text())
    assert list(found) == ["teacher", "student"]
    for name, forms in (("teacher", {"float32", "float16", "pt2"}), ("student", set(FILES))):
        assert set(found[name]["files"]) == {FILES[form] for form in forms}
        kept = {file for file, figures in found[name]["files"].items() if figures["kept"]}
        assert {path.name for path in (tmp_path / "exports" / name).iterdir()} == kept | {EXPORT}
        assert json.loads((tmp_path / "exports" / name / EXPORT).read_text()) == found[name]
    table = exports_table(found)
    assert document.read_text() == f"before\n<!-- exports -->\n{table}<!-- end of exports -->\nafter\n"
    assert "| Teacher (ResNet-50) | pt2, float32 |" in table and table in capsys.readouterr().out


# The shipped networks' exports


def test_the_documentation_shows_the_exports_as_their_file_has_them():
    record = read_record(ROOT / "checkpoints" / "exports.json")
    document = (ROOT / "docs" / "export.md").read_text("utf-8")
    assert document.split("<!-- exports -->\n")[1].split("<!-- end of exports -->")[0] == exports_table(record)


def test_the_exports_that_are_documented_are_those_of_the_shipped_networks_in_every_form():
    record = read_record(ROOT / "checkpoints" / "exports.json")
    assert list(record) == list(models.ROLES)
    for role, exported in record.items():
        assert exported["weights"] == checkpoint.load_config(ROOT / "checkpoints" / role)["weights"], role
        forms = [form for form in FILES if form != "int8" or role != "teacher"]
        assert set(exported["files"]) == {FILES[form] for form in forms}
        assert exported["data"]["compared_on"] == 5_000


# What is refused


def test_int8_is_refused_for_a_teacher_and_with_pt2(tmp_path, small_checkpoint, capsys):
    config = checkpoint.load_config(small_checkpoint) | {"role": "teacher"}
    write_json(small_checkpoint / checkpoint.CONFIG, config)
    assert "is for the students" in refusal_of_export(small_checkpoint, "--output", tmp_path / "out", "--int8")
    assert refusal_of_export(small_checkpoint, "--output", tmp_path / "out", "--int8", "--format", "pt2") == 2
    assert "--float16 and --int8 are for --format onnx" in capsys.readouterr().err
    assert refusal_of_export("--site", tmp_path / "site", "--int8") == 2
    assert "--site writes what the page needs: leave out --format" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_things_are_named_with_the_way_out(tmp_path, small_checkpoint, monkeypatch):
    assert "none does not exist" in refusal_of_export(tmp_path / "none", "--output", tmp_path / "out")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "name another --output" in refusal_of_export(small_checkpoint, "--output", place)
    assert "--record wrote" in refusal_of_export(
        small_checkpoint, "--output", tmp_path / "out", "--record", small_checkpoint / checkpoint.CONFIG
    )
    monkeypatch.setattr("torchvision.datasets.CIFAR10", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    said = refusal_of_export(small_checkpoint, "--output", tmp_path / "out", "--data-dir", tmp_path / "nowhere")
    assert "there is neither train/ nor cifar-10-batches-py in" in said
    (tmp_path / "empty").mkdir()
    said = refusal_of_export(small_checkpoint, "--output", tmp_path / "out", "--data-dir", tmp_path / "empty")
    assert "--data-dir" in said and "cifar-10-python.tar.gz" in said


def test_a_missing_package_is_named_with_the_extra_and_pt2_does_without(command, small_checkpoint, monkeypatch):
    monkeypatch.setattr(export, "PACKAGES", ("onnx", "no_such_package"))
    said = refusal_of_export(small_checkpoint, "--output", small_checkpoint.parent / "out")
    assert "ONNX and --site need no_such_package: install the extra `export` with pip install '.[export]'" in said
    command(small_checkpoint, "--format", "pt2")
