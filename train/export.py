"""Write trained networks as ONNX or as PyTorch's exported programs, and compare them with the networks themselves.

python -m train.export checkpoints/student --output exports/student                    model.onnx
python -m train.export checkpoints/student --output exports/student --float16 --int8   smaller ones beside it
python -m train.export checkpoints/student --output exports/student --format pt2       model.pt2 instead
python -m train.export checkpoints/student checkpoints/teacher --output exports        into exports/student, ...
python -m train.export --site exports/site     the page, for visitors whose own browsers compute (see docs/hosting.md)

Compared are the logits of the 5,000 validation images, and the latency of one image on one core. The int8 model, for
the students alone, stays if its accuracy is at most half a point below PyTorch's. All figures go to export.json beside
the models. What the graph takes and carries along stands in `kd.export`, how to use it in docs/export.md.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from kd import checkpoint, evaluation, export
from kd.checkpoint import CheckpointError
from kd.data_dir import open_data
from kd.dataset import DataError, LabelledImages
from kd.device import machine
from kd.export import ExportError
from kd.files import make_writable, write_atomically, write_json
from kd.inference import TrainedNetwork
from kd.models import ROLE_NAMES, architecture_name
from kd.site.runtime import RuntimeFetchError
from kd.tables import markdown_table
from train.document import write_section
from train.options import add_checkpoints, add_data_dir, add_document

EXPORT = "export.json"
FILES = {"float32": "model.onnx", "float16": "model-float16.onnx", "int8": "model-int8.onnx", "pt2": "model.pt2"}
MAX_LOSS = 0.005  # of accuracy, which an int8 model may lose against PyTorch
CALIBRATION_IMAGES = 1000

Network = Callable[[Tensor], Tensor]  # images, float (N, 3, 32, 32) in [0, 1], to logits


def main(arguments: list[str] | None = None) -> None:
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.site and (options.checkpoints or options.output):
        parser.error("--site takes all three networks of --checkpoints, and no CHECKPOINT or --output")
    if options.site and (options.formats or options.float16 or options.int8 or options.record or options.document):
        parser.error("--site writes what the page needs: leave out --format, --float16, --int8, --record, --document")
    if not options.site and not (options.checkpoints and options.output):
        parser.error("name a CHECKPOINT and its --output, or --site")
    try:
        if options.site:
            return write_page(options.site_checkpoints, options.site)
        record = export_networks(forms_of(options, parser), options)
    except (CheckpointError, DataError, ExportError, RuntimeFetchError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(exports_table(record), end="")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train.export", description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="*", metavar="CHECKPOINT", help="folder of a network")
    parser.add_argument("--output", type=Path, metavar="DIR",
                        help=f"folder for the models and {EXPORT}; an export that it holds is replaced. Of several "
                        "networks each gets a folder of its name in it")  # fmt: skip
    parser.add_argument("--format", choices=("onnx", "pt2"), action="append", dest="formats",
                        help="ONNX, or a program for torch.export.load; give it twice for both (onnx)")  # fmt: skip
    parser.add_argument(
        "--float16", action="store_true", help=f"write {FILES['float16']} too: weights in half the space"
    )
    parser.add_argument("--int8", action="store_true",
                        help=f"write {FILES['int8']} of the students too, where it keeps the accuracy")  # fmt: skip
    add_data_dir(parser)
    parser.add_argument("--record", type=Path, metavar="FILE",
                        help=f"put the content of {EXPORT} into this JSON file too, which gathers several networks', "
                        "and print the table of all of them")  # fmt: skip
    add_document(parser)
    parser.add_argument("--site", type=Path, metavar="DIR",
                        help="instead: write the page that needs no server to this folder")  # fmt: skip
    add_checkpoints(parser, dest="site_checkpoints")
    return parser


def forms_of(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """The forms that are asked for, keys of `FILES`; ends the command where they contradict each other."""
    formats = options.formats or ["onnx"]
    if "onnx" not in formats and (options.float16 or options.int8):
        parser.error("--float16 and --int8 are for --format onnx")
    asked = {"float32": "onnx" in formats, "float16": options.float16, "int8": options.int8, "pt2": "pt2" in formats}
    return [form for form in FILES if asked[form]]


def write_page(checkpoints: Path, folder: Path) -> None:
    """Write the page that needs no server, and tell the steps; raises what `kd.site.build.write_site` does."""
    export.require_packages("markdown_it")
    from kd.site import build  # with Gradio, whose page it is taken from

    for step in build.write_site(checkpoints, folder):
        print(step, flush=True)


def export_networks(forms: list[str], options: argparse.Namespace) -> dict[str, dict]:
    """Export each network, once nothing is left to refuse; returns their export.json by name, and --record's others."""
    record = read_record(options.record) if options.record else {}
    outputs = outputs_of(options.checkpoints, options.output)
    networks = {folder: TrainedNetwork(*checkpoint.load(folder)) for folder in outputs}
    if "int8" in forms and all(network.config["role"] == "teacher" for network in networks.values()):
        raise ExportError(f"--int8 is for the students, and {options.checkpoints[0]} holds a teacher: leave it out")
    if "float32" in forms:
        export.require_packages()
    for output in outputs.values():
        check_writable(output)
    sizes = {network.image_size for network in networks.values()}
    sets = {size: open_data(options.data_dir, size) for size in sizes}
    for folder, network in networks.items():
        evaluation.check_classes(folder, network.config, sets[network.image_size].classes)
    data = {size: images.split() for size, images in sets.items()}
    for folder, network in networks.items():
        own_forms = [form for form in forms if form != "int8" or network.config["role"] != "teacher"]
        exported = export_network(network, own_forms, *data[network.image_size], outputs[folder])
        record[folder.resolve().name] = exported
        if options.record:
            write_json(options.record, record)
        for name, file in exported["files"].items():
            print(outputs[folder] / name if file["kept"] else not_kept(file, exported["pytorch"]), flush=True)
    if options.document:
        write_section(options.document, "exports", exports_table(record))
    return record


def outputs_of(checkpoints: list[Path], output: Path) -> dict[Path, Path]:
    """The folder for each checkpoint's export.

    Raises:
        ExportError: two would get the same one.
    """
    if len(checkpoints) == 1:
        return {checkpoints[0]: output}
    outputs = {folder: output / folder.resolve().name for folder in checkpoints}
    if len(set(outputs.values())) < len(checkpoints):
        raise ExportError("two of the networks would be written to one folder: export them one by one")
    return outputs


def export_network(
    classifier: TrainedNetwork, forms: list[str], training: LabelledImages, validation: LabelledImages, output: Path
) -> dict:
    """Write a network to `output` in several forms, keys of `FILES`, and compare each with the network itself.

    Args:
        training, validation: images to calibrate on, and to compare on.
        output: a folder that exists; the files of a former export there are removed.

    Returns:
        The content of export.json: of which checkpoint, on which data, machine and versions; the network's own bytes,
        accuracy and latency_ms under "pytorch"; and by file name under "files" format, weights, kept, bytes,
        accuracy and agreement with PyTorch (0 to 1), largest_difference of the logits, and latency_ms (one image,
        one core).
    """
    calibration = training.images[:: max(1, len(training) // CALIBRATION_IMAGES)][:CALIBRATION_IMAGES]
    contents = make(classifier, forms, calibration)
    exported = {
        **{key: classifier.config[key] for key in ("role", "architecture", "stem", "seed", "epochs_done", "weights")},
        "data": {**validation.description, "compared_on": len(validation)},
        "calibrated_on": len(calibration) if "int8" in forms else None,
        "machine": machine(torch.device("cpu")),
        "latency_runs": evaluation.LATENCY_RUNS,
        "versions": {name: version(name) for name in ("torch", *(export.PACKAGES if "float32" in forms else ()))},
        **measured(classifier, contents, validation),
    }
    for name in (EXPORT, *FILES.values()):  # not before now: what fails leaves a former export as it was
        (output / name).unlink(missing_ok=True)
    for form, content in contents.items():
        if exported["files"][FILES[form]]["kept"]:
            write_atomically(output / FILES[form], lambda path, content=content: path.write_bytes(content))
    write_json(output / EXPORT, exported)
    return exported


def make(classifier: TrainedNetwork, forms: list[str], calibration: Tensor) -> dict[str, bytes]:
    """The content of the file of each form."""
    contents = {}
    if "float32" in forms:
        models = {"float32": export.to_onnx(classifier)}
        if "float16" in forms:
            models["float16"] = export.with_float16_weights(models["float32"], classifier)
        if "int8" in forms:
            models["int8"] = export.quantised(models["float32"], calibration)
        contents = {form: model.SerializeToString() for form, model in models.items()}
    if "pt2" in forms:
        contents["pt2"] = export.to_pt2(classifier)
    return contents


def measured(classifier: TrainedNetwork, contents: dict[str, bytes], validation: LabelledImages) -> dict:
    """What a network achieves itself and in each form: "pytorch" and "files" of export.json."""
    images, labels = validation.images, validation.labels
    classifier.to(memory_format=torch.channels_last)  # as on the page
    logits = export.network_logits(classifier, images, "PyTorch")
    own = {"bytes": checkpoint.weight_bytes(classifier.config), "accuracy": evaluation.accuracy(logits, labels)}
    files, single = {}, {"PyTorch": classifier}
    for form, content in contents.items():
        name = FILES[form]
        found = export.network_logits(exported_network(form, content), images, name)
        accuracy = evaluation.accuracy(found, labels)
        files[name] = {
            "format": "pt2" if form == "pt2" else "onnx",
            "weights": "float32" if form == "pt2" else form,
            "kept": form != "int8" or round(own["accuracy"] - accuracy, 6) <= MAX_LOSS,
            "bytes": len(content),
            "accuracy": accuracy,
            "agreement": evaluation.agreement(found, logits),
            "largest_difference": (found - logits).abs().max().item(),
        }
        single[name] = exported_network(form, content, threads=1)
    latency = evaluation.latencies(single, torch.zeros(1, 3, classifier.image_size, classifier.image_size))
    for name, figures in {"PyTorch": own, **files}.items():
        figures["latency_ms"] = latency[name]
    return {"pytorch": own, "files": files}


def exported_network(form: str, content: bytes, threads: int = 0) -> Network:
    """The network that a file holds, as a function; `threads` as in `kd.export.onnx_network`."""
    return torch.export.load(io.BytesIO(content)).module() if form == "pt2" else export.onnx_network(content, threads)


def check_writable(folder: Path) -> None:
    """Make the folder; raise ExportError where it cannot be written to."""
    try:
        make_writable(folder)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written to ({error.strerror}): name another --output") from error


def read_record(path: Path) -> dict[str, dict]:
    """The content of a file that --record wrote; empty where there is none.

    Raises:
        ExportError: it holds something else.
    """
    try:
        record = json.loads(path.read_text("utf-8")) if path.exists() else {}
    except ValueError:
        record = None
    if not isinstance(record, dict) or not all(isinstance(each, dict) and "files" in each for each in record.values()):
        raise ExportError(f"{path} is not a file that --record wrote: name another one")
    return record


def exports_table(record: dict[str, dict]) -> str:
    """Exports as a Markdown table, with a line that says where they were measured.

    Args:
        record: the content of export.json by any name.
    """
    headings = (
        "network", "form", "file size", "accuracy", "agrees with PyTorch", "largest difference of logits", "latency",
    )  # fmt: skip
    rows, notes = [], {}
    for exported in record.values():
        network = f"{ROLE_NAMES[exported['role']]} ({architecture_name(exported['architecture'])})"
        forms = {"PyTorch": exported["pytorch"]}
        for file in exported["files"].values():
            kept = "" if file["kept"] else ", not kept"
            forms[f"{'ONNX' if file['format'] == 'onnx' else 'pt2'}, {file['weights']}{kept}"] = file
        for form, figures in forms.items():
            compared = "agreement" in figures
            row = (
                network, form, f"{figures['bytes'] / 1e6:.1f} MB", f"{figures['accuracy']:.2%}",
                f"{figures['agreement']:.2%}" if compared else "",
                f"{figures['largest_difference']:.2g}" if compared else "", f"{figures['latency_ms']:.1f} ms",
            )  # fmt: skip
            rows.append(row)
        versions = ", ".join(f"{name} {number}" for name, number in exported["versions"].items())
        notes[
            f"Compared on {exported['data']['compared_on']:,} validation images of {exported['data']['name']}; latency "
            f"on one core ({exported['machine']}), one image, median of {exported['latency_runs']} runs in turns; "
            f"{versions}."
        ] = None  # a dict keeps one of each, in order
    return "\n".join([markdown_table(headings, rows, names=2), "", *notes]) + "\n"


def not_kept(file: dict, own: dict) -> str:
    """The sentence on a model that lost too much accuracy."""
    return (
        f"{file['weights']} is not kept: its accuracy, {file['accuracy']:.2%}, is more than {MAX_LOSS * 100:g} points "
        f"below PyTorch's, {own['accuracy']:.2%}"
    )


if __name__ == "__main__":
    main()
