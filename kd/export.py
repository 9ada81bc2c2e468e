"""A trained network in forms that need none of this project: ONNX, and PyTorch's own exported program.

Every form is one graph with the normalisation inside it, and what `kd.inference.TrainedNetwork` computes:

    images    float32, (N, 3, 32, 32), RGB, values in [0, 1]; N is free, 32 is what the checkpoint says
    logits    float32, (N, 10), in the order of `classes`, and as many as these

and carries what is needed to use it and to know where it comes from (see `metadata`). The packages of the extra
`export` are imported where they are used: neither the page nor the training needs them.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kd.checkpoint import image_size_of
from kd.inference import TrainedNetwork

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

INPUT, OUTPUT = "images", "logits"
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
METADATA = "metadata.json"  # inside a .pt2, where `metadata` stands
TRACEABLE = "It must not branch on what it is shown, and take any number of images"
BATCH = 250  # images of 32 x 32 that go through a network at once when it is compared; of larger ones fewer


class ExportError(ValueError):
    """A network cannot be exported as asked; the message says why, and the way out."""


def require_packages(*more: str) -> None:
    """Make sure that the packages of the extra `export` are there that ONNX needs, and `more` of them.

    Raises:
        ExportError: one is not.
    """
    missing = [name for name in (*PACKAGES, *more) if find_spec(name) is None]
    if missing:
        raise ExportError(
            f"ONNX and --site need {', '.join(missing)}: install the extra `export` with pip install '.[export]'; of "
            "one network --format pt2 needs PyTorch alone"
        )


def metadata(config: dict) -> dict[str, str]:
    """What an exported network carries along, each value a text.

    Args:
        config: the checkpoint's config.json.

    Returns:
        input and output (sentences), classes (a JSON list, in the order of the logits), temperature (the T of the
        network's recipe: of its soft targets, if it was distilled) and config (the whole config.json: role,
        recipe, seed, data, versions, machine, sha256 of the weights).
    """
    size = image_size_of(config)
    return {
        "input": f"{INPUT}: float32, (N, 3, {size}, {size}), RGB, values in [0, 1]; normalised inside",
        "output": f"{OUTPUT}: float32, (N, {len(config['classes'])}), in the order of classes",
        "classes": json.dumps(config["classes"]),
        "temperature": f"{config['recipe']['temperature']:g}",
        "config": json.dumps(config),
    }


def to_pt2(classifier: TrainedNetwork) -> bytes:
    """The content of a .pt2 file: `torch.export.load` reads it, and its `.module()` takes images.

    Raises:
        ExportError: the network cannot be traced.
    """
    images = torch.zeros(2, 3, *(classifier.image_size,) * 2)  # of one image the batch would be taken for a constant
    with _refusals("traced for --format pt2", TRACEABLE):
        program = torch.export.export(classifier, (images,), dynamic_shapes=({0: torch.export.Dim("N")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the lines of source it came from, with the paths of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata(classifier.config))})
    return file.getvalue()


def to_onnx(classifier: TrainedNetwork) -> "ModelProto":
    """The network as an ONNX model, weights inside; the exporter folds each batch norm into the convolution before it.

    Raises:
        ExportError: a package is missing, or the network cannot be traced.
    """
    require_packages()
    from onnx import helper

    images = torch.zeros(2, 3, *(classifier.image_size,) * 2)
    with _refusals("traced for --format onnx", TRACEABLE):
        program = torch.onnx.export(
            classifier, (images,), dynamo=True, input_names=[INPUT], output_names=[OUTPUT],
            dynamic_shapes=({0: "N"},), external_data=False, verbose=False,
        )  # fmt: skip
    model = program.model_proto
    _forget_source(model.graph)
    helper.set_model_props(model, metadata(classifier.config))
    return model


@contextlib.contextmanager
def _refusals(what: str, way_out: str) -> Iterator[None]:
    """Turn whatever PyTorch and ONNX Runtime raise of a network of somebody's into an ExportError."""
    try:
        yield
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise ExportError(f"the network cannot be {what} ({type(error).__name__}: {said}). {way_out}") from error


def with_float16_weights(model: "ModelProto", classifier: TrainedNetwork) -> "ModelProto":
    """The same model with its convolutions' and linear layers' weights stored in float16, in half the space.

    Stored are the network's own weights, which a checkpoint holds in float16 already, and behind each stands what turns
    it into the model's: a cast to float32 and, where the exporter has folded a batch norm into a convolution, the
    norm's factor of each output channel. To round the folded weights instead would move the logits of some images by
    nearly 1. It computes in float32 as before: ONNX Runtime carries casts and factors out once, when it loads the
    model. Biases, which are small and have the wider range, stay as they are (as in `kd.checkpoint.save`).

    Args:
        model: as `to_onnx` returns it.
        classifier: the network that it was made of.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    smaller = ModelProto()
    smaller.CopyFrom(model)
    multiplied_by = {node.input[1] for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")}
    own = {name: tensor.detach().numpy() for name, tensor in classifier.state_dict().items()}
    restoring, factors = [], []
    for weight in smaller.graph.initializer:
        if weight.name not in multiplied_by:
            continue
        name, folded = weight.name, numpy_helper.to_array(weight)
        stored, factor = _unfolded(folded, own[name]) if name in own else (folded, None)
        weight.CopyFrom(numpy_helper.from_array(stored.astype(np.float16), f"{name}.float16"))
        target = name if factor is None else f"{name}.float32"
        restoring.append(helper.make_node("Cast", [weight.name], [target], f"{name}.cast", to=TensorProto.FLOAT))
        if factor is not None:
            factors.append(numpy_helper.from_array(factor, f"{name}.factor"))
            restoring.append(helper.make_node("Mul", [target, factors[-1].name], [name], f"{name}.restored"))
    smaller.graph.initializer.extend(factors)
    nodes = [*restoring, *smaller.graph.node]  # a graph's nodes stand in the order of computation
    del smaller.graph.node[:]
    smaller.graph.node.extend(nodes)
    return smaller


def _unfolded(folded: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """A convolution's own weights, and the factor of each output channel that a norm folded into it has put on them.

    Returns:
        The weights and the factors, (C, 1, 1, 1); the folded weights and None where they are no such product.
    """
    if folded.shape != own.shape or folded.ndim != 4 or np.array_equal(folded, own):
        return folded, None
    axes = (1, 2, 3)
    squares = (own.astype(np.float64) ** 2).sum(axes, keepdims=True)
    products = (folded.astype(np.float64) * own).sum(axes, keepdims=True)
    factor = np.divide(products, squares, out=np.zeros_like(products), where=squares > 0).astype(np.float32)
    return (own, factor) if np.allclose(own * factor, folded, rtol=1e-5, atol=0) else (folded, None)


def quantised(model: "ModelProto", images: Tensor) -> "ModelProto":
    """The model in int8: static quantisation by ONNX Runtime, weights by channel.

    Args:
        model: as `to_onnx` returns it.
        images: uint8, (N, 3, 32, 32), what the ranges of the activations are calibrated on.

    Raises:
        ExportError: ONNX Runtime cannot quantise it.
    """
    from onnx import load
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Calibration(CalibrationDataReader):
        """The images, batch by batch, as ONNX Runtime asks for them."""

        def __init__(self) -> None:
            bar = tqdm(images.split(_at_once(images)), desc="calibrating", leave=False, disable=None)
            self.batches: Iterator[Tensor] = iter(bar)

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: (batch.float() / 255).numpy()}

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),  # where ONNX Runtime leaves the whole network if it does not understand it
        _refusals("quantised", "Leave out --int8"),
    ):
        prepared, target = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(model, prepared)
        quantize_static(
            prepared,
            target,
            Calibration(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # weights of 7 bits: with 8, sums can saturate on processors without VNNI
        )
        smaller = load(target)
    needed = {node.domain for node in smaller.graph.node}
    domains = [each for each in smaller.opset_import if each.domain in needed]  # ONNX Runtime declares all it knows
    for ours, theirs in ((smaller.opset_import, domains), (smaller.metadata_props, model.metadata_props)):
        del ours[:]
        ours.extend(theirs)
    return smaller


def onnx_network(model: "ModelProto | bytes", threads: int = 0) -> Callable[[Tensor], Tensor]:
    """A function from images, float (N, 3, 32, 32) in [0, 1], to logits, computed by ONNX Runtime on the CPU.

    Args:
        model: the model, or the content of its file.
        threads: to compute with; 0 for one a core.

    Raises:
        ExportError: ONNX Runtime does not know how to compute it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = model if isinstance(model, bytes) else model.SerializeToString()
    with _refusals("loaded by ONNX Runtime", "--format pt2 needs PyTorch alone"):
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


@torch.inference_mode()
def network_logits(network: Callable[[Tensor], Tensor], images: Tensor, title: str) -> Tensor:
    """The logits of many images, float32 (N, 10).

    Args:
        network: in any form: images, float (N, 3, 32, 32) in [0, 1], to logits.
        images: uint8, (N, 3, 32, 32).
        title: what the progress bar says, on a terminal.
    """
    bar = tqdm(images.split(_at_once(images)), desc=title, leave=False, disable=None)
    return torch.cat([network(batch.float() / 255) for batch in bar])


def _at_once(images: Tensor) -> int:
    """How many of these images a network is shown at once: as many pixels, whatever their size."""
    return max(1, BATCH * 32**2 // images[0, 0].numel())


def _forget_source(graph: "GraphProto") -> None:
    """Remove what the exporter notes of each node: the lines of source it came from, with the paths of this machine."""
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
