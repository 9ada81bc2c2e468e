"""A crowd at the page: how many are answered at once, how many may wait, and how many images one may bring.

Whatever runs the networks on single photos (an upload, an example, a crop, the endpoint) stands in
one queue, so that first come is first served, and as many are answered at once as there are cores.
Gradio could also gather waiting visitors into batches; then one bad file would fail the whole batch,
and a batch's gain is small beside the time that Gradio itself needs for an upload. The many images of
one visitor, where batches do pay, have a queue of their own, so that nobody's single photo waits behind them.
"""

import os
from pathlib import Path

QUEUE = 100  # visitors who may wait; one more is told to come back later
SESSIONS = 200  # whose state Gradio keeps, at 100 kB each; the page itself keeps nothing there
MAX_IMAGES = 100  # in the tab of many images, and in one list for the endpoint


def cores() -> int:
    """How many cores this process may use: in a container often fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("utf-8").split()
        return max(1, min(allowed, int(quota) // int(period)))
    except (OSError, ValueError):  # not Linux, or without a limit, which reads "max"
        return allowed


# Settings of Gradio's events.
SINGLE_PHOTO = {"concurrency_id": "single photo", "concurrency_limit": cores()}
MANY_IMAGES = {"concurrency_id": "many images", "concurrency_limit": 1}
