"""Batches read ahead: the next one is made on the host while the device is busy with this one."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

Made = Mapping[str, Tensor]


class ReadAhead:
    """Batches by their number, the same as `make` gives them, the next one always under way in a thread of its own."""

    def __init__(self, make: Callable[[int], Made], device: torch.device) -> None:
        """`make` gives the tensors of a batch on the host, as a function of its number alone."""
        self._make, self._device = make, device
        self._thread = ThreadPoolExecutor(1, "read-ahead")
        self._next: tuple[int, Future[Made]] | None = None

    def __call__(self, number: int) -> dict[str, Tensor]:
        """Batch `number` on the device, and the one after it begun; raises what `make` raises of this batch."""
        ahead, self._next = self._next, None
        made = ahead[1].result() if ahead is not None and ahead[0] == number else self._prepare(number)
        self._next = number + 1, self._thread.submit(self._prepare, number + 1)
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in made.items()}

    def _prepare(self, number: int) -> Made:
        """Pinned for CUDA, whose copies then wait for nothing."""
        made = self._make(number)
        return {name: tensor.pin_memory() for name, tensor in made.items()} if self._device.type == "cuda" else made
