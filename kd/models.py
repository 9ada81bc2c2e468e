"""The networks by their names, those of CIFAR-10 with a chosen stem, and what they cost.

A name is one of torchvision's classification networks (`resnet18`), `convnet-16` for three convolutions that are
trained in seconds, `timm:NAME` where timm is installed, or `package.module:function`, a function of one's own that is
given the number of classes and returns the network. Such a function is code: its module is imported only where the
command line names it, or `KD_NETWORK_MODULES` lists it.
"""

import importlib
import itertools
import os
import traceback
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

STEMS = ("imagenet", "cifar")
ARCHITECTURES = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2"}  # that have stems; with the names people know
WITH_AUXILIARY_LOGITS = ("googlenet", "inception_v3")  # of torchvision's, for images of 75 pixels up
TIMM = "timm:"
CONVNET = "convnet-"  # and the channels of its first convolution
MODULES = "KD_NETWORK_MODULES"  # in the environment: modules, with commas between, whose functions may build networks

ROLES = ("teacher", "student", "distilled")
ROLE_NAMES = {"teacher": "Teacher", "student": "Student alone", "distilled": "Distilled student"}
ARCHITECTURE_OF_ROLE = {"teacher": "resnet50", "student": "mobilenet_v2", "distilled": "mobilenet_v2"}
SCRIPT_OF_ROLE = {"teacher": "train.teacher", "student": "train.student", "distilled": "train.distill"}


class NetworkError(ValueError):
    """There is no such network, or it is not for these images; the message says why, and the way out."""


def build(architecture: str, stem: str, classes: int = 10, dropout: float = 0.0) -> nn.Module:
    """Build a network that maps normalised images, (N, 3, H, W), to logits, (N, `classes`).

    Args:
        architecture: "resnet50" (He 2015, arXiv 1512.03385), "mobilenet_v2" (Sandler 2018,
            arXiv 1801.04381), or another network by its name (see above).
        stem: "imagenet" leaves the network as it is, and torchvision's two shrink a 32 x 32 image to a
            1 x 1 feature map; "cifar" takes out their early strides, so that 4 x 4 remain.
        dropout: probability before MobileNetV2's last layer, 0 to 1; the others have none, or their own.

    Raises:
        NetworkError: an unknown architecture or stem, or a function that nobody has allowed.
    """
    if stem not in STEMS:
        raise NetworkError(f"stem {stem!r} is not one of {', '.join(STEMS)}")
    if architecture == "resnet50":
        return _resnet50(stem, classes)
    if architecture == "mobilenet_v2":
        return _mobilenet_v2(stem, classes, dropout)
    if stem != "imagenet":
        raise NetworkError(
            f"{' and '.join(ARCHITECTURES)} alone have the {stem} stem: give --stem imagenet for {architecture}"
        )
    if architecture.startswith(CONVNET):
        return _convnet(architecture.removeprefix(CONVNET), classes)
    if architecture.startswith(TIMM):
        return _of_timm(architecture.removeprefix(TIMM), classes)
    if ":" in architecture:
        return _of_function(architecture, classes)
    if architecture not in models.list_models(module=models) or architecture in WITH_AUXILIARY_LOGITS:
        raise NetworkError(
            f"there is no network {architecture!r}: name one of torchvision's classification networks without "
            "auxiliary logits, such as resnet18, convnet-16, timm:NAME or package.module:function"
        )
    return models.get_model(architecture, weights=None, num_classes=classes)


def _convnet(width: str, classes: int) -> nn.Module:
    """Three convolutions of stride 2, each with twice the channels of the one before, and a linear layer."""
    if not width.isdecimal() or not 1 <= int(width) <= 1024:
        raise NetworkError(f"{CONVNET}{width} is no network: the number of channels is 1 to 1024, as in {CONVNET}16")
    layers: list[nn.Module] = []
    channels = (3, int(width), 2 * int(width), 4 * int(width))
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))


def _of_timm(name: str, classes: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise NetworkError(f"{TIMM}{name} needs timm: pip install '.[timm]'") from error
    if not timm.is_model(name):
        raise NetworkError(f"timm {timm.__version__} has no network {name!r}")
    return timm.create_model(name, pretrained=False, num_classes=classes)


_allowed: set[str] = set()  # modules that this process may import for their networks


def allow(architecture: str) -> None:
    """Let a function build networks, because the person at the command line has named it."""
    if ":" in architecture and not architecture.startswith(TIMM):
        _allowed.add(architecture.partition(":")[0])


def _of_function(architecture: str, classes: int) -> nn.Module:
    module, _, function = architecture.partition(":")
    trusted = {name.strip() for name in os.environ.get(MODULES, "").split(",")}
    if module not in _allowed | trusted:
        raise NetworkError(
            f"the network is built by {function} of the module {module}, which is code of somebody's: if you trust it, "
            f"set {MODULES}={module}"
        )
    try:
        build_network = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever somebody's code raises
        raise NetworkError(
            f"{architecture} cannot be imported ({type(error).__name__}: {error}): see that {module} is on PYTHONPATH"
        ) from error
    try:
        network = build_network(classes)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise NetworkError(
            f"{architecture} builds no network ({type(error).__name__}: {error}; line {where.lineno} of "
            f"{where.filename}): it is to be a function of the number of classes"
        ) from error
    if not isinstance(network, nn.Module):
        raise NetworkError(f"{architecture} returns a {type(network).__name__} instead of a torch.nn.Module")
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in network.parameters()):
        raise NetworkError(f"{architecture} has lazy layers, which have no weights yet: give them their input's size")
    return network


def architecture_name(architecture: str) -> str:
    """The name under which people know a network."""
    return ARCHITECTURES.get(architecture, architecture)


def _resnet50(stem: str, classes: int) -> nn.Module:
    # With the CIFAR stem each block starts as the identity: its last norm is 0 (Goyal 2017, arXiv 1706.02677, 5.1).
    network = models.resnet50(num_classes=classes, zero_init_residual=stem == "cifar")
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that computes in float32, under autocast too, where a CPU is slow in bfloat16.

    There the gradient of a strided one, and of one of 2 x 2 maps, takes several times as long in bfloat16, that of all
    others in MobileNetV2 less.
    """

    def forward(self, images: Tensor) -> Tensor:
        """As `nn.Conv2d`'s."""
        slow = images.device.type == "cpu" and (self.stride != (1, 1) or images.shape[-1] <= 2)
        if not slow or not torch.is_autocast_enabled("cpu"):  # without it nothing is to be switched off
            return super().forward(images)
        with torch.autocast("cpu", enabled=False):
            return super().forward(images.float())


def _mobilenet_v2(stem: str, classes: int, dropout: float) -> nn.Module:
    network = models.mobilenet_v2(num_classes=classes, dropout=dropout)
    for part in network.modules():
        if isinstance(part, nn.Conv2d) and part.groups > 1:
            part.__class__ = DepthwiseConv2d  # with the weight that it has, so that a seed's weights stay the same
    if stem == "cifar":
        network.features[0][0].stride = (1, 1)
        _second_stage(network).stride = (1, 1)
    return network


def downsample_early(network: nn.Module, early: bool) -> bool:
    """Give a network with the CIFAR stem back one early stride, or take it away again.

    ResNet-50 gets the max-pool of its stem, MobileNetV2 the stride of its second stage, as torchvision's have them:
    about a quarter of the multiplications. Neither has weights, so a run can begin this way and end at full size.
    Any other network stays as it is.

    Returns:
        Whether it has that stride now.
    """
    if isinstance(network, models.ResNet) and network.conv1.stride == (1, 1):
        network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if early else nn.Identity()
    elif isinstance(network, models.MobileNetV2) and network.features[0][0].stride == (1, 1):
        _second_stage(network).stride = (2, 2) if early else (1, 1)
    else:
        return False
    return early


def _second_stage(network: models.MobileNetV2) -> nn.Conv2d:
    """The depthwise convolution in the first block of the second stage (24 channels), which has its stride."""
    return network.features[2].conv[1][0]


def before_norms(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """The convolutions whose next sibling, in the order in which they were registered, is a batch norm.

    In torchvision's networks the norm is also what is computed next; in others it may not be.

    Yields:
        The module that holds both, and the names that convolution and norm have in it.
    """
    for part in list(network.modules()):
        for (before, convolution), (name, norm) in itertools.pairwise(list(part.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield part, before, name


def fuse_norms(network: nn.Module, architecture: str) -> nn.Module:
    """Take each batch norm into the convolution before it, in place; returns the network.

    Its logits stay, up to rounding. Only for inference: the network has to be in evaluation mode, and can no longer be
    trained or stored.

    Args:
        architecture: its name. Those without a stem of ours stay as they are: nobody knows what follows on what.
    """
    for part, before, name in before_norms(network) if architecture in ARCHITECTURES else ():
        setattr(part, before, fuse_conv_bn_eval(getattr(part, before), getattr(part, name)))
        setattr(part, name, nn.Identity())
    return network


def first_layer(network: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """The first convolution and its norm, which is an identity once it is fused."""
    if isinstance(network, models.ResNet):
        return network.conv1, network.bn1
    return network.features[0][0], network.features[0][1]


def stem_responses(network: nn.Module, images: Tensor) -> Tensor:
    """What the first convolution and its norm make of normalised images: (N, C, H, W), before the activation."""
    convolution, norm = first_layer(network)
    return norm(convolution(images))


def features(network: nn.Module, images: Tensor) -> Tensor:
    """What the last linear layer is given of normalised images, (N, D): D is 2048 of ResNet-50, 1280 of MobileNetV2."""
    if isinstance(network, models.ResNet):
        maps = network.maxpool(network.relu(stem_responses(network, images)))
        maps = network.layer4(network.layer3(network.layer2(network.layer1(maps))))
    else:
        maps = network.features(images)
    return maps.mean(dim=(2, 3))


def logits_of_features(network: nn.Module, features: Tensor) -> Tensor:
    """The logits, (N, K), that the last linear layer makes of `features`."""
    return network.fc(features) if isinstance(network, models.ResNet) else network.classifier(features)


def load_body(network: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Give a network weights; those of its last layer stay as they are where the given ones are of another shape.

    Returns:
        The names of those that stay.

    Raises:
        NetworkError: other tensors are missing, of another shape, or not this network's.
    """
    own = network.state_dict()
    *_, (last_registered, _) = network.named_parameters()
    last = last_registered.rpartition(".")[0] + "."
    # Weights from before PyTorch 0.4.1 have no num_batches_tracked.
    needed = [name for name in own if name in tensors or not name.endswith("num_batches_tracked")]
    unfit = [name for name in needed if name not in tensors or own[name].shape != tensors[name].shape]
    foreign = sorted(tensors.keys() - own.keys())
    if wrong := [name for name in unfit if not name.startswith(last)] or foreign:
        named = wrong[0] + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
        raise NetworkError(
            f"{named}: missing, of another shape or foreign. These are the weights of another network, or of another "
            "--stem"
        )
    network.load_state_dict({name: tensors[name] for name in needed if name not in unfit}, strict=False)
    return unfit


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_macs(architecture: str, stem: str, classes: int = 10, image_size: int = 32) -> int:
    """Multiply-accumulates of one forward pass of one image, in convolutions and linear layers.

    Args:
        image_size: its side, pixels.

    Raises:
        NetworkError: as of `build`; or the network cannot take such an image, or does not return logits.
    """
    try:
        logits, flops = _forward(architecture, stem, classes, image_size, "meta")  # shapes are enough
    except Exception:  # but not for those that compute with numbers
        try:
            logits, flops = _forward(architecture, stem, classes, image_size, "cpu")
        except NetworkError:
            raise
        except Exception as error:  # whatever a network of somebody's raises
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise NetworkError(f"{architecture} fails on an image of {image_size} x {image_size} ({reason})") from error
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        what = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise NetworkError(
            f"{architecture} returns {what} of an image instead of logits (1, {classes}), one for each class"
        )
    return flops // 2  # a multiply-accumulate is two operations


def _forward(architecture: str, stem: str, classes: int, image_size: int, device: str) -> tuple[object, int]:
    """What an untrained network returns of an image, and the operations that takes; draws no random numbers."""
    # As matrix products, attention is counted on either device.
    with torch.random.fork_rng([]), torch.device(device), sdpa_kernel(SDPBackend.MATH):
        network = build(architecture, stem, classes).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            return network(torch.zeros(1, 3, image_size, image_size)), counter.get_total_flops()
