"""How long a model takes for one image and for a batch, and the memory beside it."""

import resource
import sys
import time

import torch
from torch.utils.benchmark import Timer

from dmd.evaluate.noises import Noises
from dmd.types import Images, Labels, Latents, Model

PATIENCE = 3.0
"""No further call is begun after so many timed seconds."""

SPREAD = 0.1
"""Calls are timed until their interquartile range ÷ median is below it, four at least."""


class TimedModel:
    """A model with a stopwatch around each call; work still under way on an accelerator is waited for."""

    def __init__(self, model: Model, device: torch.device) -> None:
        """Wrap `model`."""
        self.model = model
        self.device = device
        self.seconds: list[float] = []
        self.images = 0

    def __call__(self, z: Latents, labels: Labels | None) -> Images:
        """The model's images."""
        _synchronize(self.device)
        start = time.perf_counter()
        images = self.model(z, labels)
        _synchronize(self.device)
        self.seconds.append(time.perf_counter() - start)
        self.images += len(z)
        return images

    @property
    def seconds_per_image(self) -> float:
        """Wall time of all calls over the images they gave."""
        return sum(self.seconds) / self.images


@torch.no_grad()
def median_seconds(model: Model, noises: Noises, batch_size: int) -> float:
    """Median wall time of a call for `batch_size` images, after at least one that warms up.

    Calls are repeated until their times agree within `SPREAD`, or for `PATIENCE`: one that takes longer is timed once.
    """
    z, labels = noises.batch(0, batch_size)
    call = {"model": model, "z": z, "labels": labels}
    timer = Timer("model(z, labels)", globals=call, num_threads=torch.get_num_threads())
    return float(timer.adaptive_autorange(SPREAD, max_run_time=PATIENCE).median)


def latency(model: Model, noises: Noises, batch_size: int) -> dict[str, float]:
    """Seconds for one image and for a batch of at most `batch_size`, and the peak of memory in MiB.

    Keys: `one_seconds`, `batch_seconds`, `batch_size`, `peak_memory_mib`. The memory is CUDA's peak of allocated bytes
    during these calls; elsewhere the largest resident size that the whole process has had, libraries and earlier work
    included.
    """
    size = min(batch_size, noises.count)
    if noises.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(noises.device)
    one, batch = (median_seconds(model, noises, count) for count in (1, size))
    return {
        "one_seconds": one,
        "batch_seconds": batch,
        "batch_size": size,
        "peak_memory_mib": peak_memory(noises.device) / 2**20,
    }


def peak_memory(device: torch.device) -> int:
    """Bytes: CUDA's peak of allocated memory since its last reset, or the process's largest resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
