"""Batches read ahead: the next one is made on the host while the device is busy with this one."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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


class ReadAheadInProcesses:
    """The same batches, made by processes of their own, where one thread cannot keep up with the device."""

    def __init__(self, make: Callable[[int], Made], device: torch.device, processes: int) -> None:
        """As `ReadAhead`; `make` runs in forked processes, so it must not touch the device."""
        self._make, self._device, self._processes = _Batches(make), device, processes
        self._next = -1
        self._batches: Iterator[Made] = iter(())

    def __call__(self, number: int) -> dict[str, Tensor]:
        """Batch `number` on the device, and those after it begun; raises what `make` raises."""
        if number != self._next:
            self._batches = iter(self._loader(number))
        self._next = number + 1
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in next(self._batches).items()}

    def _loader(self, first: int) -> "DataLoader[Any]":
        """Batches `first`, `first + 1`, … without end, in order."""
        return DataLoader(
            self._make,
            batch_size=None,
            sampler=count(first),
            num_workers=self._processes,
            pin_memory=self._device.type == "cuda",
            multiprocessing_context="fork",
            generator=torch.Generator(),  # of seeds that nothing here uses, lest they come from the global one
        )


class _Batches(Dataset[Any]):
    """A batch by its number, as torch's loader asks for it."""

    def __init__(self, make: Callable[[int], Made]) -> None:
        self.make = make

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return dict(self.make(number))
