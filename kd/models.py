"""The teacher and student networks, torchvision's own with a chosen stem, and what they cost."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from kd.cifar10 import CLASSES, IMAGE_SIZE

STEMS = ("imagenet", "cifar")
ARCHITECTURES = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2"}  # with the names people know

ROLES = ("teacher", "student", "distilled")
ROLE_NAMES = {"teacher": "Teacher", "student": "Student alone", "distilled": "Distilled student"}
ARCHITECTURE_OF_ROLE = {"teacher": "resnet50", "student": "mobilenet_v2", "distilled": "mobilenet_v2"}
SCRIPT_OF_ROLE = {"teacher": "train.teacher", "student": "train.student", "distilled": "train.distill"}


def build(architecture: str, stem: str, dropout: float = 0.0) -> nn.Module:
    """Build a network that maps (N, 3, 32, 32) normalised images to (N, 10) logits.

    Args:
        architecture: "resnet50" (He 2015, arXiv 1512.03385) or "mobilenet_v2" (Sandler 2018,
            arXiv 1801.04381).
        stem: "imagenet" leaves torchvision's network as it is, which shrinks a 32 x 32 image to a
            1 x 1 feature map; "cifar" takes out the early strides, so that 4 x 4 remain.
        dropout: probability before MobileNetV2's last layer, 0 to 1; ResNet-50 has none.

    Raises:
        ValueError: an unknown architecture or stem.
    """
    if stem not in STEMS:
        raise ValueError(f"stem {stem!r} is not one of {', '.join(STEMS)}")
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture {architecture!r} is not one of {', '.join(ARCHITECTURES)}")
    return _resnet50(stem) if architecture == "resnet50" else _mobilenet_v2(stem, dropout)


def _resnet50(stem: str) -> nn.Module:
    # With the CIFAR stem each block starts as the identity: its last norm is 0 (Goyal 2017, arXiv 1706.02677, 5.1).
    network = models.resnet50(num_classes=len(CLASSES), zero_init_residual=stem == "cifar")
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
    return network


def _mobilenet_v2(stem: str, dropout: float) -> nn.Module:
    network = models.mobilenet_v2(num_classes=len(CLASSES), dropout=dropout)
    if stem == "cifar":
        network.features[0][0].stride = (1, 1)
        _second_stage(network).stride = (1, 1)
    return network


def downsample_early(network: nn.Module, early: bool) -> None:
    """Give a network with the CIFAR stem back one early stride, or take it away again.

    ResNet-50 gets the max-pool of its stem, MobileNetV2 the stride of its second stage, as torchvision's have them:
    about a quarter of the multiplications. Neither has weights, so a run can begin this way and end at full size.
    Any other network stays as it is.
    """
    if isinstance(network, models.ResNet):
        network.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1) if early else nn.Identity()
    elif isinstance(network, models.MobileNetV2):
        _second_stage(network).stride = (2, 2) if early else (1, 1)


def _second_stage(network: models.MobileNetV2) -> nn.Conv2d:
    """The depthwise convolution in the first block of the second stage (24 channels), which has its stride."""
    return network.features[2].conv[1][0]


def fuse_norms(network: nn.Module) -> nn.Module:
    """Take each batch norm into the convolution before it, in place; returns the network. Its logits stay.

    Only for inference: the network has to be in evaluation mode, and can no longer be trained or stored.
    """
    for part in list(network.modules()):
        for (before, convolution), (name, norm) in itertools.pairwise(list(part.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, before, fuse_conv_bn_eval(convolution, norm))
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
    """What the last linear layer is given, (N, D), of normalised images: 2048 of ResNet-50, 1280 of MobileNetV2."""
    if isinstance(network, models.ResNet):
        images = network.maxpool(network.relu(stem_responses(network, images)))
        images = network.layer4(network.layer3(network.layer2(network.layer1(images))))
    else:
        images = network.features(images)
    return images.mean(dim=(2, 3))


def logits_of_features(network: nn.Module, features: Tensor) -> Tensor:
    """The logits, (N, K), that the last linear layer makes of `features`."""
    return network.fc(features) if isinstance(network, models.ResNet) else network.classifier(features)


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_macs(architecture: str, stem: str, early: bool = False) -> int:
    """Multiply-accumulates of one forward pass of one image, in convolutions and linear layers.

    Args:
        early: with the stride that `downsample_early` puts in.
    """
    with torch.device("meta"):  # shapes are enough
        network = build(architecture, stem).eval()
        if early:
            downsample_early(network, True)
        image = torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() // 2  # a multiply-accumulate is two operations
