"""What becomes of freed memory: settings of glibc's malloc (its manual, "Malloc Tunable Parameters").

They are best made before there are many threads. Both functions return whether all were made: False without glibc.
"""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8  # malloc.h
ARENAS = 2  # that all threads share; else there are eight for each core, and each keeps what it once needed
MAPPED = 4_000_000  # bytes from which on a block is mapped alone, and unmapped when it is free


def keep_freed_memory() -> bool:
    """Have it kept, for training: else large tensors go back to the system each step and are asked for again.

    The benefit is the larger the smaller the network.
    """
    return _set({MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1})


def return_freed_memory() -> bool:
    """Let it go back to the system, for the page: else what a large photo took is kept for the thread that read it."""
    return _set({ARENA_MAX: ARENAS, MMAP_THRESHOLD: MAPPED, TRIM_THRESHOLD: MAPPED})


def _set(settings: dict[int, int]) -> bool:
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(name, value) for name, value in settings.items()])
