"""The networks are the ones the results speak of: their cost, their shapes, their stems."""

import sys

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import kd.models
from kd import checkpoint
from kd.checkpoint import CheckpointError
from kd.models import (
    ARCHITECTURES,
    STEMS,
    NetworkError,
    build,
    count_macs,
    count_parameters,
    downsample_early,
    fuse_norms,
    load_body,
    stem_responses,
)
from tests.configs import made_config

EVERY_NETWORK = [(architecture, stem) for architecture in ARCHITECTURES for stem in STEMS]


@pytest.mark.parametrize(
    ("architecture", "stem", "macs"),
    [
        ("resnet50", "imagenet", 83_431_424),
        ("resnet50", "cifar", 1_297_829_888),
        ("mobilenet_v2", "imagenet", 6_124_928),
        ("mobilenet_v2", "cifar", 87_976_448),
    ],
)
def test_multiply_accumulates_of_one_image(architecture, stem, macs):
    assert count_macs(architecture, stem) == macs


@pytest.mark.parametrize(
    ("architecture", "stem", "parameters"),
    [
        # torchvision's published counts, less its 1000-way last layer, plus a 10-way one.
        ("resnet50", "imagenet", 25_557_032 - 2048 * 1000 - 1000 + 2048 * 10 + 10),
        ("mobilenet_v2", "imagenet", 3_504_872 - 1280 * 1000 - 1000 + 1280 * 10 + 10),
        # The stem of ResNet-50 is a 3 x 3 instead of a 7 x 7 convolution; MobileNetV2 only loses strides.
        ("resnet50", "cifar", 23_528_522 - 64 * 3 * (7 * 7 - 3 * 3)),
        ("mobilenet_v2", "cifar", 2_236_682),
    ],
)
def test_parameters(architecture, stem, parameters):
    with torch.device("meta"):
        assert count_parameters(build(architecture, stem)) == parameters


def test_frozen_parameters_are_not_counted():
    network = torch.nn.Linear(3, 5)
    assert count_parameters(network) == 20
    network.bias.requires_grad_(False)
    assert count_parameters(network) == 15


@pytest.mark.parametrize(("architecture", "stem"), EVERY_NETWORK)
def test_images_become_ten_logits_by_way_of_the_stems_feature_map(architecture, stem):
    network = build(architecture, stem).eval()
    last = network.layer4 if architecture == "resnet50" else network.features
    sizes = []
    last.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    with torch.inference_mode():
        logits = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert logits[0].ne(logits[1]).any()  # the answer depends on the image
    assert sizes == [(1, 1) if stem == "imagenet" else (4, 4)]


@pytest.mark.parametrize(("architecture", "stem"), [("resnet50", "cifar"), ("mobilenet_v2", "imagenet")])
def test_initial_weights_follow_from_the_seed(architecture, stem):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.nn.utils.parameters_to_vector(build(architecture, stem).parameters())

    first = weights(5)
    assert torch.equal(first, weights(5))
    assert not torch.equal(first, weights(6))


@pytest.mark.parametrize(("architecture", "millions"), [("resnet50", 325), ("mobilenet_v2", 24.5)])
def test_early_stride_saves_most_multiplications_and_has_no_weights(architecture, millions):
    network, image = build(architecture, "cifar").eval(), torch.randn(1, 3, 32, 32)
    before, names = network(image), list(network.state_dict())
    assert downsample_early(network, True)
    with FlopCounterMode(display=False) as counter:
        assert not torch.equal(network(image), before) and list(network.state_dict()) == names
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, abs=1)
    downsample_early(network, False)
    assert torch.equal(network(image), before)


@pytest.mark.parametrize("size", [32, 16])
def test_under_autocast_depthwise_convolutions_compute_in_float32_where_bfloat16_is_slow_and_nowhere_else(size):
    network = build("mobilenet_v2", "cifar").train()
    computed: dict[tuple[bool, bool], set[torch.dtype]] = {}

    def note(part, given, output):
        slow = part.groups > 1 and (part.stride == (2, 2) or given[0].shape[-1] <= 2)
        computed.setdefault((part.groups > 1, slow), set()).add(output.dtype)

    for part in network.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 3, size, size))
    bfloat16 = {torch.bfloat16}
    assert computed == {(False, False): bfloat16, (True, False): bfloat16, (True, True): {torch.float32}}


def test_a_depthwise_convolution_has_the_weights_of_torchvisions():
    torch.manual_seed(5)
    theirs = torchvision.models.mobilenet_v2(num_classes=10, dropout=0.0)
    torch.manual_seed(5)
    ours, images = build("mobilenet_v2", "imagenet").eval(), torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(images), theirs.eval()(images))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mobilenet_v2", "resnet50"])
def test_compiled_network_follows_the_early_stride(architecture):
    torch.manual_seed(0)
    network, image = build(architecture, "cifar").eval(), torch.randn(1, 3, 32, 32)
    compiled = torch.compile(network, backend="eager")  # traces and guards as any backend, and is quick
    for early in (True, False, True):
        downsample_early(network, early)
        assert torch.equal(compiled(image), network(image))


@pytest.mark.parametrize(
    ("architecture", "stem", "message"),
    [
        ("resnet18", "cifar", "give --stem imagenet for resnet18"),
        ("resnet19", "imagenet", "no network 'resnet19': name one of torchvision's"),
        ("resnet50", "tiny", "stem 'tiny' is not one of imagenet, cifar"),
    ],
)
def test_unknown_names_are_refused_with_the_way_out(architecture, stem, message):
    with pytest.raises(ValueError, match=message):
        build(architecture, stem)


@pytest.mark.parametrize(("architecture", "stem"), EVERY_NETWORK)
def test_a_network_with_its_norms_taken_into_its_convolutions_answers_as_before(architecture, stem):
    torch.manual_seed(0)
    network, images = build(architecture, stem), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 32, 32))  # so that the norms hold statistics of their own
        for norm in (part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.5, 0.5)
        logits, responses = network.eval()(images), stem_responses(network, images)
        fused = fuse_norms(network, architecture)
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in fused.modules())
        torch.testing.assert_close(fused(images), logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(stem_responses(fused, images), responses, rtol=1e-4, atol=1e-4)


def test_the_norms_of_a_network_whose_order_nobody_knows_stay():
    network = build("shufflenet_v2_x0_5", "imagenet").eval()
    before = list(network.state_dict())
    assert list(fuse_norms(network, "shufflenet_v2_x0_5").state_dict()) == before


# Other networks by their names


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "convnet-4", "timm:resnet10t"])
def test_a_network_of_torchvision_or_timm_has_a_logit_for_each_class(name):
    network = build(name, "imagenet", 3).eval()
    assert network(torch.randn(2, 3, 48, 48)).shape == (2, 3)
    assert count_macs(name, "imagenet", classes=3, image_size=64) > count_macs(name, "imagenet", classes=3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("inception_v3", "no network 'inception_v3'"),
        ("fcn_resnet50", "no network 'fcn_resnet50'"),  # which answers for each pixel
        ("timm:resnet19", "timm .* has no network 'resnet19'"),
    ],
)
def test_what_is_no_classification_network_is_refused(name, message):
    with pytest.raises(NetworkError, match=message):
        build(name, "imagenet")


def test_a_network_that_computes_while_it_is_built_leaves_the_random_numbers_alone():
    before = torch.random.get_rng_state()
    assert count_macs("regnet_y_400mf", "imagenet") > 1e6
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_from_before_norms_counted_their_batches_fit():
    network = build("convnet-4", "imagenet")
    older = {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
    assert load_body(network, older) == []


def test_a_network_that_cannot_see_such_images_is_refused():
    with pytest.raises(NetworkError, match="vit_b_16 fails on an image of 32 x 32"):
        count_macs("vit_b_16", "imagenet")


def test_without_timm_its_networks_are_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match=r"pip install '\.\[timm\]'"):
        build("timm:resnet10t", "imagenet")


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A module of one's own that says when it is imported, and builds a linear network."""
    (tmp_path / "own_networks.py").write_text(
        "import torch\nimported = True\n"
        "def linear(classes):\n"
        "    pool = torch.nn.AdaptiveAvgPool2d(1)\n"
        "    return torch.nn.Sequential(pool, torch.nn.Flatten(), torch.nn.Linear(3, classes))\n"
        "def nothing(classes):\n    return classes\n"
        "def failing(classes):\n    return classes.lower()\n"
        "def lazy(classes):\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(classes))\n"
        "def wider(classes):\n    return linear(classes + 1)\n"
        "class Branching(torch.nn.Sequential):\n"
        "    def forward(self, images):\n"
        "        if images.abs().max() > 100:\n            images = images / 100\n"
        "        return super().forward(images)\n"
        "def branching(classes):\n    return Branching(*linear(classes))\n"
        "class Attending(torch.nn.Module):\n"
        "    def __init__(self, classes, computing):\n"
        "        super().__init__()\n"
        "        self.last, self.factor = torch.nn.Linear(8, classes), 1.0\n"
        "        if computing:\n            self.factor = torch.linspace(0, 1, 3)[1].item()\n"
        "    def forward(self, images):\n"
        "        rows = self.factor * images.flatten(1).view(len(images), 1, -1, 8)\n"
        "        attended = torch.nn.functional.scaled_dot_product_attention(rows, rows, rows)\n"
        "        return self.last(attended.mean(dim=(1, 2)))\n"
        "def attending(classes):\n    return Attending(classes, False)\n"
        "def attending_computing(classes):\n    return Attending(classes, True)\n"
        "class Misspelt(Branching):\n    def forward(self, images):\n        return imges\n"
        "def misspelt(classes):\n    return Misspelt(*linear(classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(kd.models, "_allowed", set())
    yield "own_networks"
    sys.modules.pop("own_networks", None)


def test_a_function_of_ones_own_is_imported_only_once_somebody_says_so(own_module, monkeypatch):
    with pytest.raises(NetworkError, match="if you trust it, set KD_NETWORK_MODULES=own_networks"):
        build("own_networks:linear", "imagenet", 4)
    assert own_module not in sys.modules
    monkeypatch.setenv("KD_NETWORK_MODULES", "others, own_networks")
    assert build("own_networks:linear", "imagenet", 4)(torch.zeros(2, 3, 5, 5)).shape == (2, 4)
    assert count_macs("own_networks:linear", "imagenet", classes=4) == 12
    with pytest.raises(NetworkError, match="returns a int instead of a torch.nn.Module"):
        build("own_networks:nothing", "imagenet")
    monkeypatch.setattr(kd.models, "_allowed", {""})
    for name in ("own_networks:missing", ":linear"):
        with pytest.raises(NetworkError, match="cannot be imported .*: see that .* is on PYTHONPATH"):
            build(name, "imagenet")


def test_a_network_that_decides_by_its_images_is_counted_like_any_other(own_module):
    kd.models.allow("own_networks:branching")
    assert count_macs("own_networks:branching", "imagenet", classes=4) == 12
    rows = 3 * 32 * 32 // 8  # of 8 numbers: Q K' and its product with V
    for name in ("attending", "attending_computing"):
        assert count_macs(f"own_networks:{name}", "imagenet", classes=4) == 2 * rows * rows * 8 + 8 * 4


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("failing", r"builds no network \(AttributeError: .*'lower'; line 9 of .*own_networks.py\)"),
        ("lazy", "has lazy layers"),
        ("wider", r"returns \(1, 5\) of an image instead of logits \(1, 4\)"),
        ("misspelt", "fails on an image of 32 x 32 .NameError: name 'imges'"),
    ],
)
def test_what_is_wrong_with_a_network_of_ones_own_is_told(own_module, function, message):
    kd.models.allow(f"own_networks:{function}")
    with pytest.raises(NetworkError, match=message):
        count_macs(f"own_networks:{function}", "imagenet", classes=4)


def test_naming_a_function_at_the_command_line_allows_its_module_alone(own_module):
    kd.models.allow("own_networks:linear")
    assert build("own_networks:linear", "imagenet", 4)
    with pytest.raises(NetworkError, match="KD_NETWORK_MODULES=os"):
        build("os:getcwd", "imagenet")


def test_loading_a_checkpoint_imports_nothing_that_nobody_has_allowed(own_module, tmp_path, monkeypatch):
    mine = {"name": "mine", "trained_on": 90}
    config = made_config(architecture="own_networks:linear", classes=["yes", "no"], image_size=16, data=mine)
    monkeypatch.setenv("KD_NETWORK_MODULES", "own_networks")
    checkpoint.save(build("own_networks:linear", "imagenet", 2), config, tmp_path / "student")
    sys.modules.pop("own_networks")
    monkeypatch.delenv("KD_NETWORK_MODULES")
    with pytest.raises(CheckpointError, match="KD_NETWORK_MODULES=own_networks") as told:
        checkpoint.load(tmp_path / "student")
    assert "--restart" not in str(told.value)  # nothing is damaged
    assert own_module not in sys.modules


# The stems


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_imagenet_stem_keeps_its_strides_while_it_is_trained(architecture):
    network = build(architecture, "imagenet")
    before = str(network)
    for early in (True, False):
        assert not downsample_early(network, early)
    assert str(network) == before
