"""Where a run computes: its device, and the processes that torchrun starts side by side."""

import os
import platform
from dataclasses import dataclass

import torch
import torch.distributed as distributed


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


def process_device(name: str) -> torch.device:
    """The device that `--device` means: auto is a GPU where there is one.

    Raises:
        DeviceError: no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"--device {name} is not to be had ({str(error).splitlines()[0]}): try cpu") from error
    return device


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which networks compute; losses and weights are float32 in any case.

    Args:
        precision: a recipe's: float32, bfloat16, or auto, which is bfloat16 on a GPU and float32 on a CPU.
    """
    half = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def machine(device: torch.device) -> str:
    """The hardware in a few words, for the record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU with {os.cpu_count()} cores"
