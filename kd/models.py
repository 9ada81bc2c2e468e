"""The teacher and student networks, torchvision's own with a chosen stem, and what they cost."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from kd.cifar10 import CLASSES, IMAGE_SIZE

STEMS = ("imagenet", "cifar")
ARCHITECTURES = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2"}  # with the names people know
ARCHITECTURE_OF_ROLE = {"teacher": "resnet50", "student": "mobilenet_v2", "distilled": "mobilenet_v2"}


def build(architecture: str, stem: str, pretrained: bool = False) -> nn.Module:
    """Build a network that maps (N, 3, 32, 32) normalised images to (N, 10) logits.

    Args:
        architecture: "resnet50" (He 2015, arXiv 1512.03385) or "mobilenet_v2" (Sandler 2018,
            arXiv 1801.04381).
        stem: "imagenet" leaves torchvision's network as it is, which shrinks a 32 x 32 image to a
            1 x 1 feature map; "cifar" takes out the early strides, so that 4 x 4 remain.
        pretrained: start from torchvision's ImageNet weights (downloaded by torchvision); the
            last layer is new all the same, and so is a convolution that the stem replaces.

    Raises:
        ValueError: an unknown architecture or stem.
    """
    if stem not in STEMS:
        raise ValueError(f"stem {stem!r} is not one of {', '.join(STEMS)}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is not one of {', '.join(ARCHITECTURES)}")
    make = {"resnet50": _resnet50, "mobilenet_v2": _mobilenet_v2}[architecture]
    return make(stem, "DEFAULT" if pretrained else None)


def _resnet50(stem: str, weights: str | None) -> nn.Module:
    network = models.resnet50(weights=weights)
    network.fc = nn.Linear(network.fc.in_features, len(CLASSES))
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network


def _mobilenet_v2(stem: str, weights: str | None) -> nn.Module:
    network = models.mobilenet_v2(weights=weights)
    last = network.classifier[1] = nn.Linear(network.last_channel, len(CLASSES))
    nn.init.normal_(last.weight, 0, 0.01)  # as torchvision does
    nn.init.zeros_(last.bias)
    if stem == "cifar":
        network.features[0][0].stride = (1, 1)
        # The first block of the second stage (24 channels): its depthwise convolution has the stride.
        network.features[2].conv[1][0].stride = (1, 1)
    return network


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_macs(architecture: str, stem: str) -> int:
    """Multiply-accumulates of one forward pass of one image, in convolutions and linear layers."""
    with torch.device("meta"):  # shapes are enough
        network = build(architecture, stem).eval()
        image = torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations
