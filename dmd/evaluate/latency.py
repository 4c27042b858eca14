"""How long a model takes for one image and for a batch, and the memory beside it."""

import resource
import sys
import time
from statistics import median

import torch

from dmd.evaluate.noises import Noises
from dmd.types import Images, Labels, Model

REPEATS = 5
"""Timed calls at most; the median is reported."""

PATIENCE = 3.0
"""No further call is begun after so many seconds, but for the third."""


class TimedModel:
    """A model with a stopwatch around each call; work still under way on an accelerator is waited for."""

    def __init__(self, model: Model, device: torch.device) -> None:
        """Wrap `model`."""
        self.model = model
        self.device = device
        self.seconds: list[float] = []
        self.images = 0

    def __call__(self, z: Images, labels: Labels | None) -> Images:
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
    """Median wall time of a call for `batch_size` images, after one call that warms up."""
    timed = TimedModel(model, noises.device)
    z, labels = noises.batch(0, batch_size)
    model(z, labels)
    while len(timed.seconds) < 3 or (len(timed.seconds) < REPEATS and sum(timed.seconds) < PATIENCE):
        timed(z, labels)
    return median(timed.seconds)


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
