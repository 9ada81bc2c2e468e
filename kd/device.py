"""Where a run computes: its device, the precision, and the processes that torchrun starts side by side."""

import functools
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as distributed

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_UNITS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 bf16"}  # by the names of the flags there


class DeviceError(RuntimeError):
    """There is no such device; the message names the option."""


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together."""

    rank: int = 0
    count: int = 1

    @staticmethod
    def current() -> "Processes":
        if not distributed.is_initialized():
            return ALONE
        return Processes(distributed.get_rank(), distributed.get_world_size())

    def share(self, rows: slice) -> slice:
        """The rows of a batch that this process works on."""
        return slice(rows.start + self.rank, rows.stop, self.count)


ALONE = Processes()


def wait_for_all() -> None:
    """Return when every process has come here; at once where there is only one."""
    if distributed.is_initialized():
        distributed.barrier()


def process_device(device: str) -> torch.device:
    """The device that `--device` means: auto is a GPU where there is one.

    Raises:
        DeviceError: no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
        if found.type == "cuda" and found.index is None:
            found = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"--device {device} is not to be had ({str(error).splitlines()[0]}): try cpu") from error
    return found


def chosen_precision(precision: str, device: torch.device, stem: str) -> str:
    """What a recipe's `precision` means here: float32 or bfloat16.

    auto is bfloat16 on a CUDA GPU that computes in it. On a CPU that multiplies faster in it, it is bfloat16 with
    CIFAR's stem alone: the small feature maps of the ImageNet stem gain less from it than the conversions of autocast
    cost. No network is timed, so that runs which are to be compared cannot differ in it by chance.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and stem == "cifar" and _bfloat16_is_faster() else "float32"


@functools.cache
def _bfloat16_is_faster() -> bool:
    """Whether this CPU computes in bfloat16: such a product takes half of float32's time there or less, and a hundred
    times as long where PyTorch has to emulate it, so one short measurement decides even on a busy machine."""
    bfloat16, float32 = (matmul_seconds("cpu", dtype, side=512, runs=9) for dtype in (torch.bfloat16, torch.float32))
    return bfloat16 < float32


def matmul_seconds(device: torch.device | str, dtype: torch.dtype, side: int, runs: int) -> float:
    """What a product of two square matrices takes, in seconds: the shortest of the runs, which no other process and
    no first call has lengthened."""
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # the look at a number waits for a GPU
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which networks compute; losses and weights are float32 in any case.

    Args:
        precision: float32 or bfloat16; see `chosen_precision`. Of float32 a CUDA GPU computes convolutions in TF32,
            unless torch.backends.cudnn.allow_tf32 says otherwise.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def machine(device: torch.device) -> str:
    """The hardware in a few words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()} with {os.cpu_count()} cores"


def _cpu_name() -> str:
    """The CPU's name and the units by which it multiplies in bfloat16, as Linux tells them on x86; else its kind alone.

    Two machines of as many cores differ by a factor in both, and their runs in the last bits.
    """
    try:
        first_core = CPU_INFO.read_text("utf-8").partition("\n\n")[0]
    except OSError:
        first_core = ""
    told = dict(line.split("\t: ", 1) for line in first_core.splitlines() if "\t: " in line)
    told = {key.strip(): value.strip() for key, value in told.items()}
    units = [unit for flag, unit in BFLOAT16_UNITS.items() if flag in told.get("flags", "").split()]
    return told.get("model name", f"{platform.machine()} CPU") + (f" ({', '.join(units)})" if units else "")
