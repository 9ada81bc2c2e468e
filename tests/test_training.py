"""The loop: fair to baseline and distilled student, repeatable bit for bit, and hard to kill."""

import contextlib
import errno
import math
import os
import platform
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

import kd.device
import kd.training
from kd import checkpoint
from kd.checkpoint import STATE, CheckpointError
from kd.cifar10 import NORMALISATIONS
from kd.device import DeviceError, Processes, chosen_precision, machine, process_device
from kd.evaluation import accuracy, negative_log_likelihood, predict
from kd.losses import distillation_loss
from kd.models import STEMS
from kd.recipe import Recipe
from kd.teacher import FrozenTeacher
from kd.training import Muon, TrainingError, batches, check_batch_size, epoch_seed, loss_of, prepared, train

RECIPE = Recipe(epochs=3, batch_size=64, learning_rate=0.1, rotation=10, cutout=4)
CPU = torch.device("cpu")


@pytest.fixture
def run(subset, tmp_path, make_network):
    """Trains a tiny network; returns it with its history."""

    def run(recipe=RECIPE, network=None, folder="run", **options):
        network = network or make_network()
        return network, train(network, *subset, recipe, tmp_path / folder, **options)

    return run


@pytest.fixture
def teacher(make_network):
    network = make_network(seed=1)
    network(torch.randn(64, 3, 32, 32))  # batch-norm statistics of its own
    return FrozenTeacher(network)


@pytest.fixture(scope="module")
def whole(subset, make_network, tmp_path_factory):
    """An uninterrupted run: (network, history). Many are compared with it, and it is trained once."""
    trained = {}

    def whole(recipe=RECIPE, teacher=None):
        if (recipe, teacher is None) not in trained:
            network = make_network()
            history = train(network, *subset, recipe, tmp_path_factory.mktemp("whole"), teacher=teacher)
            trained[recipe, teacher is None] = network, history
        return trained[recipe, teacher is None]

    return whole


def same(network, other):
    ours, theirs = (x if isinstance(x, dict) else x.state_dict() for x in (network, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def record_inputs(network):
    """The images a network is trained on, as it meets them."""
    recorded = []
    network.register_forward_pre_hook(
        lambda module, inputs: recorded.append(inputs[0].clone()) if module.training else None
    )
    return recorded


def measurements(history):
    return [
        {key: value for key, value in epoch.items() if "seconds" not in key and "second" not in key}
        for epoch in history
    ]


# Baseline and distilled student


def test_baseline_distilled_student_and_teacher_see_the_identical_images(run, make_network, teacher):
    baseline, distilled, asked = make_network(), make_network(), []
    assert same(baseline, distilled)
    by_baseline, by_distilled = record_inputs(baseline), record_inputs(distilled)
    teacher.network.register_forward_pre_hook(lambda module, inputs: asked.append(inputs[0].clone()))
    run(RECIPE, baseline, "baseline")
    run(RECIPE, distilled, "distilled", teacher=teacher)
    assert len(by_baseline) == 3 * (450 // 64)
    for number, images in enumerate(by_baseline):
        assert torch.equal(images, by_distilled[number])
        assert torch.equal(images, asked[number])
    assert not torch.equal(by_baseline[0], by_baseline[7])
    assert not same(baseline, distilled)


def test_student_distilled_with_soft_weight_0_is_the_baseline_bit_for_bit(run, whole, teacher):
    baseline, history = whole()
    distilled, other = run(RECIPE.changed(soft_weight=0.0), folder="distilled", teacher=teacher)
    assert same(baseline, distilled)
    assert [epoch["loss"] for epoch in history] == [epoch["loss"] for epoch in other]


def test_history_tells_the_loss_and_its_two_terms(run, whole, teacher):
    _, baseline = whole()
    _, distilled = run(RECIPE.changed(soft_weight=0.75), folder="distilled", teacher=teacher)
    for number, (one, other) in enumerate(zip(baseline, distilled, strict=True), start=1):
        assert one["epoch"] == other["epoch"] == number
        assert one["loss"] == one["hard"] and one["soft"] is None
        assert other["loss"] == pytest.approx(0.25 * other["hard"] + 0.75 * other["soft"], rel=1e-5)
        assert other["soft"] > 0


def test_recorded_validation_is_that_of_the_final_network_without_augmentation(whole, subset):
    network, history = whole()
    logits = predict(network, subset[1].images, NORMALISATIONS[RECIPE.normalisation])
    assert history[-1]["validation_accuracy"] == accuracy(logits, subset[1].labels)
    assert history[-1]["validation_loss"] == negative_log_likelihood(logits, subset[1].labels)


def test_training_lowers_the_loss(run):
    _, history = run(RECIPE.changed(epochs=8))
    assert history[-1]["loss"] < history[0]["loss"] - 0.1
    assert history[-1]["accuracy"] > 0.2


def test_the_loss_is_the_recipes_at_its_temperature_and_soft_weight():
    torch.manual_seed(0)
    logits, teacher_logits, labels = torch.randn(8, 10), torch.randn(8, 10), torch.arange(8)
    settings = {"loss": "dist", "temperature": 2.0, "soft_weight": 0.3}
    found = loss_of(logits, teacher_logits, labels, RECIPE.changed(**settings))
    for term, expected in zip(found, distillation_loss(logits, teacher_logits, labels, **settings), strict=True):
        assert torch.equal(term, expected)


# Schedule and precision


def test_both_optimisers_take_their_rates_of_the_schedule(run, monkeypatch):
    rates = {torch.optim.SGD: [], Muon: []}
    for kind, seen in rates.items():
        step = kind.step

        def spy(optimizer, *arguments, seen=seen, step=step, **options):
            seen.append(optimizer.param_groups[0]["lr"])
            return step(optimizer, *arguments, **options)

        monkeypatch.setattr(kind, "step", spy)
    run(RECIPE.changed(epochs=1, optimizer="muon", learning_rate=0.1, muon_learning_rate=0.03))
    assert len(set(rates[Muon])) == 7
    assert rates[Muon] == pytest.approx([0.3 * rate for rate in rates[torch.optim.SGD]])


def test_every_step_takes_the_rate_of_the_schedule(run, monkeypatch):
    rates, step = [], torch.optim.SGD.step

    def spy(optimizer, *arguments, **options):
        rates.append({group["lr"] for group in optimizer.param_groups})
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    recipe = RECIPE.changed(epochs=4, warmup=0.25, learning_rate=0.1)
    _, history = run(recipe)
    assert all(len(groups) == 1 for groups in rates)
    rates = [rate for (rate,) in rates]
    assert len(rates) == 4 * 7
    assert rates[:7] == sorted(rates[:7]) and rates[7:] == sorted(rates[7:], reverse=True)
    assert rates[0] < 0.01 < 0.09 < max(rates) <= 0.1
    assert rates[-1] < 0.001
    assert [epoch["learning_rate"] for epoch in history] == rates[6::7]


def test_bfloat16_is_for_the_networks_alone(run, make_network):
    network, outputs = make_network(), []
    network.register_forward_hook(lambda module, inputs, output: outputs.append((module.training, output.dtype)))
    run(RECIPE.changed(epochs=1), network, precision="bfloat16")
    assert {dtype for in_training, dtype in outputs if in_training} == {torch.bfloat16}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


class Sized(models.MobileNetV2):
    """A MobileNetV2 that notes the size of the feature map behind its second stage."""

    def __init__(self):
        stages = [[1, 16, 1, 1], [6, 24, 1, 2], [6, 32, 1, 2]]  # torchvision's first, and narrow: it is quick
        super().__init__(num_classes=10, width_mult=0.25, inverted_residual_setting=stages)
        self.features, self.classifier = self.features[:4], nn.Linear(8, 10)  # without the layer of 1280 channels
        self.features[0][0].stride = self.features[2].conv[1][0].stride = (1, 1)
        self.sizes = []
        self.features[2].register_forward_hook(lambda module, inputs, output: self.sizes.append(output.shape[-1]))


def test_early_epochs_train_and_are_evaluated_at_half_size_and_the_others_at_full(run):
    network = Sized()
    recipe = RECIPE.changed(epochs=2, batch_size=225, early_downsampling=0.5)
    _, history = run(recipe, network)
    assert network.sizes == [16, 16, 16, 32, 32, 32]  # two batches and the validation images, an epoch
    assert [epoch["early_downsampling"] for epoch in history] == [True, False]


def test_without_early_epochs_a_network_keeps_a_stride_of_its_own(run):
    network = Sized()
    network.features[2].conv[1][0].stride = (2, 2)
    run(RECIPE.changed(epochs=1, batch_size=225), network)
    assert network.sizes == [16] * 3


# Processes and devices


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_processes_divide_a_batch_among_them(count):
    rows = list(range(100))
    shares = [rows[Processes(rank, count).share(slice(24, 36))] for rank in range(count)]
    assert sorted(sum(shares, [])) == rows[24:36]
    assert {len(share) for share in shares} == {12 // count}


def test_shares_of_two_processes_make_up_the_batch_of_one(subset):
    whole, *shares = (
        list(batches(subset[0], RECIPE, 2, processes)) for processes in (Processes(), Processes(0, 2), Processes(1, 2))
    )
    for batch, one, other in zip(whole, *shares, strict=True):
        for tensor, *parts in zip(batch, one, other, strict=True):
            together = torch.empty_like(tensor)
            together[0::2], together[1::2] = parts
            assert torch.equal(together, tensor)


@pytest.mark.parametrize(
    ("batch_size", "processes", "message"),
    [
        (451, 1, "--batch-size 451 is more than the 450 training images"),
        (63, 2, "--batch-size 63 is not divisible among 2 processes"),
        (4, 4, "--batch-size 4 leaves one image a process"),
    ],
)
def test_batch_that_does_not_fit_is_refused(batch_size, processes, message):
    with pytest.raises(TrainingError, match=message):
        check_batch_size(Recipe(batch_size=batch_size), 450, Processes(0, processes))


def test_batch_that_does_not_fit_is_refused_before_training(run):
    with pytest.raises(TrainingError, match="more than the 450 training images"):
        run(RECIPE.changed(batch_size=451), export=lambda *_: pytest.fail("trained"))
    run(RECIPE.changed(batch_size=450, epochs=1))


def test_processes_on_gpus_share_their_batch_norm_statistics(make_network, monkeypatch):
    monkeypatch.setattr(kd.training, "DistributedDataParallel", lambda network: network)  # it wants the processes
    for count, device, kind in [(2, "cuda", nn.SyncBatchNorm), (2, "cpu", nn.BatchNorm2d), (1, "cuda", nn.BatchNorm2d)]:
        learner = prepared(make_network(), Processes(0, count), torch.device(device), compiled=False)
        norms = {type(module) for module in learner.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
        assert norms == {kind}


def test_compiled_run_goes_through_the_compiler_and_ends_like_one_that_is_not(run, make_network, teacher, monkeypatch):
    networks, graphs, compile_ = [], [], torch.compile

    def backend(graph, inputs):  # traces and guards as any backend, and is quick
        graphs.append(graph)
        return graph.forward

    def spy(network, **options):
        networks.append(getattr(network, "__self__", network))  # a module compiled in place hands over its method
        return compile_(network, backend=backend, **options)

    recipe = RECIPE.changed(epochs=1)
    expected, history = run(recipe, folder="plain", teacher=teacher)
    assert networks == []
    monkeypatch.setattr(torch, "compile", spy)
    student = make_network()
    compiled, again = run(recipe, student, "compiled", teacher=teacher, compiled=True)
    assert len(networks) == 2 and networks[0] is student and networks[1] is teacher
    assert len(graphs) >= 2
    assert same(compiled, expected) and measurements(history) == measurements(again)


def test_unknown_device_is_refused_with_a_way_out(monkeypatch):
    assert process_device("cpu") == CPU
    with pytest.raises(DeviceError, match="--device abacus is not to be had .*: try cpu"):
        process_device("abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert process_device("auto") == CPU


@pytest.mark.parametrize(
    ("info", "named"),
    [
        (
            "model name\t: A 9000\nflags\t\t: fpu avx512_bf16 amx_bf16\n\nmodel name\t: B\n",
            "A 9000 (AMX, AVX-512 bf16)",
        ),
        ("model name\t: A: 9000\nflags\t\t: fpu\n", "A: 9000"),
        ("BogoMIPS\t: 50.00\n", f"{platform.machine()} CPU"),
        (None, f"{platform.machine()} CPU"),
    ],
)
def test_a_cpu_is_named_with_what_multiplies_in_bfloat16(info, named, tmp_path, monkeypatch):
    monkeypatch.setattr(kd.device, "CPU_INFO", tmp_path / "cpuinfo")
    if info:
        (tmp_path / "cpuinfo").write_text(info)
    assert machine(CPU) == f"{named} with {os.cpu_count()} cores"


@pytest.mark.parametrize("faster", [True, False])
def test_auto_is_bfloat16_on_a_gpu_that_has_it_and_for_large_feature_maps_on_a_cpu_that_is_faster_in_it(
    monkeypatch, faster
):
    monkeypatch.setattr(kd.device, "_bfloat16_is_faster", lambda: faster)
    # Older GPUs emulate it, slowly.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or faster)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    for stem in STEMS:
        assert chosen_precision("auto", CPU, stem) == ("bfloat16" if faster and stem == "cifar" else "float32")
        assert chosen_precision("auto", torch.device("cuda"), stem) == ("bfloat16" if faster else "float32")
        assert chosen_precision("float32", torch.device("cuda"), stem) == "float32"


# Repeating and going on


def test_same_seed_ends_with_the_same_weights_bit_for_bit(run, whole):
    (one, history), (other, again) = whole(), run()
    assert same(one, other)
    assert measurements(history) == measurements(again)


def test_seed_epoch_and_process_decide_what_is_dropped(run, make_network, monkeypatch):
    assert len({epoch_seed(seed, epoch, rank) for seed in (0, 1) for epoch in (0, 1) for rank in (0, 1)}) == 8
    network, seeds = make_network(), []
    monkeypatch.setattr(torch, "manual_seed", seeds.append)
    run(network=network)
    assert seeds == [epoch_seed(RECIPE.seed, epoch, 0) for epoch in range(RECIPE.epochs)]


def interrupt_after(epochs):
    """Comes as Ctrl-C would, once that many epochs have been exported."""

    def export(network, history):
        if len(history) == epochs:
            raise KeyboardInterrupt

    return export


def interrupt_at_step(network, last):
    """Comes as Ctrl-C would, in the middle of an epoch."""
    recorded = []

    def count(module, inputs):
        recorded.extend([1] * module.training)
        if len(recorded) == last:
            raise KeyboardInterrupt

    network.register_forward_pre_hook(count)
    return network


@pytest.mark.parametrize(
    ("epochs", "distilled", "optimizer"),
    [(2, False, "nesterov"), (1.5, False, "nesterov"), (1.5, True, "nesterov"), (1.5, False, "muon")],
)
def test_interrupted_run_ends_like_an_uninterrupted_one(
    run, whole, make_network, tmp_path, teacher, epochs, distilled, optimizer
):
    recipe = RECIPE.changed(optimizer=optimizer)
    options = {"teacher": teacher if distilled else None}
    expected, history = whole(recipe, **options)
    with pytest.raises(KeyboardInterrupt):
        if epochs == 1.5:
            run(recipe, interrupt_at_step(make_network(), 7 + 4), **options)
        else:
            run(recipe, export=interrupt_after(epochs), **options)
    assert (tmp_path / "run" / STATE).exists()

    exported = []
    # Other initial weights: all of them have to come from the disk.
    network, resumed = run(recipe, make_network(seed=9), export=lambda _, h: exported.append(len(h)), **options)
    assert same(network, expected)
    assert measurements(resumed) == measurements(history)
    # The interruption may have come between state and checkpoint, so what is done already is exported again.
    assert exported == ([2, 3] if epochs == 2 else [1, 2, 3])
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_that_goes_on_within_the_early_epochs_stays_at_half_size(run):
    recipe = RECIPE.changed(epochs=3, batch_size=225, early_downsampling=0.67)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, Sized(), export=interrupt_after(1))
    network = Sized()
    run(recipe, network)
    assert network.sizes == [16, 16, 16, 32, 32, 32]  # two batches and the validation images, an epoch


def fail_from_epoch(network, epoch):
    """Makes the loss not a number from the first step of that epoch on."""
    steps = []

    def spoil(module, inputs, output):
        steps.extend([1] * module.training)
        return output * math.nan if len(steps) > 7 * (epoch - 1) else output

    network.register_forward_hook(spoil)
    return network


def test_validation_that_is_not_finite_ends_the_run_and_writes_nothing(run, tmp_path):
    class FailsWhenEvaluated(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3072, 10)

        def forward(self, images):
            return self.layer(images.flatten(1)) * (1 if self.training else math.nan)

    with pytest.raises(TrainingError, match="validation loss became nan in epoch 1"):
        run(network=FailsWhenEvaluated(), export=lambda *_: pytest.fail("exported"))
    assert not (tmp_path / "run" / STATE).exists()


def test_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_state(run, whole, make_network, tmp_path):
    exported = []
    with pytest.raises(TrainingError, match="loss became nan in epoch 3.*--learning-rate.*--warmup.*--restart"):
        run(RECIPE, fail_from_epoch(make_network(), 3), export=lambda _, history: exported.append(len(history)))
    assert exported == [1, 2]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [STATE]
    # With the cause gone, the run goes on from there as if nothing had happened.
    assert same(run(network=make_network(seed=9))[0], whole()[0])


@pytest.mark.parametrize("field", ["role", "teacher", "started_from", "data"])
def test_a_state_of_another_run_of_the_same_recipe_is_refused(run, tmp_path, field):
    own = checkpoint.identity({"role": "distilled", "teacher": {"weights": {"a": 1}}, "data": {"sha256": "b"}})
    with pytest.raises(KeyboardInterrupt):
        run(export=interrupt_after(1), run=own)
    with pytest.raises(CheckpointError, match="belongs to another run.*--restart"):
        run(run=own | {field: "another"})
    with pytest.raises(CheckpointError, match="belongs to another run.*--restart"):
        run(RECIPE.changed(learning_rate=RECIPE.learning_rate / 2), run=own)
    assert len(run(run=own)[1]) == 3


# The disk


def test_full_disk_ends_the_run_with_advice_and_keeps_the_epoch_before(run, whole, make_network, monkeypatch):
    write, writings = checkpoint.write_atomically, []

    def fill_up(path, content):
        writings.append(path)
        if len(writings) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomically", fill_up)
    with pytest.raises(TrainingError, match="epoch 2 could not be written to .*No space left.*make room.*same command"):
        run()
    assert same(run(network=make_network(seed=9))[0], whole()[0])


def test_full_disk_at_the_export_ends_the_run_with_advice_too(run):
    def export(network, history):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(TrainingError, match="epoch 1 could not be written to .*No space left"):
        run(export=export)


def test_a_folder_of_logits_that_cannot_be_written_to_costs_no_epoch(run, teacher, tmp_path):
    logits = tmp_path / "logits"
    logits.write_text("a file is in the way")
    with pytest.raises(TrainingError, match="epoch 1 is saved, but not the teacher's logits.*--teacher-logits"):
        run(teacher=teacher, logits_dir=logits)
    assert (tmp_path / "run" / STATE).exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")
def test_device_that_is_really_full_ends_the_run_with_advice(run, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    full = tmp_path / "run" / "full.tmp"
    full.symlink_to("/dev/full")
    with_name = Path.with_name
    monkeypatch.setattr(Path, "with_name", lambda path, name: full if name.startswith(STATE) else with_name(path, name))
    with pytest.raises(TrainingError, match="make room"):
        run()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), PermissionError("not allowed")])
def test_a_state_that_cannot_be_read_now_is_not_called_damaged(run, monkeypatch, error):
    with pytest.raises(KeyboardInterrupt):
        run(export=interrupt_after(1))

    def fail(*arguments, **keywords):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(*((torch, "load") if isinstance(error, torch.OutOfMemoryError) else (Path, "read_bytes")), fail)
        with pytest.raises(type(error)):
            run()
    run()


@pytest.mark.parametrize("damage", [b"", b"not a state", "truncated", "foreign"], ids=str)
def test_damaged_state_is_refused_by_name(run, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        run(export=interrupt_after(1))
    path = tmp_path / "run" / STATE
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage != "foreign":
        path.write_bytes(damage)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)) if damage == "foreign" else None
    with pytest.raises(CheckpointError, match=r"(?s)training-state\.pt cannot be read .*--restart"):
        run(network=network)
