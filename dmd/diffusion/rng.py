"""Random numbers that belong to a sample, not to a run.

Each number is a pure function of `(seed, stream, index)`: the Philox generator (Salmon et al., SC 2011) is
counter-based, keyed here by seed and index, its counter started by the stream. So a sample's noise does not depend on
batch size, shard size, worker, device or what was drawn before, and a resumed run needs no generator state.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmd.types import Labels, PerSample


class Stream(IntEnum):
    """What a number is for; different streams never share numbers."""

    PAIRS = 1
    EVALUATION = 2
    GENERATOR = 4
    MATCHING_TIME = 5
    MATCHING_NOISE = 6
    FAKE_TIME = 7
    FAKE_NOISE = 8
    TEACHER_TIME = 9
    TEACHER_NOISE = 10
    TEACHER_DROPOUT = 11
    ORDER = 12
    LABELS = 13
    REAL_ORDER = 14
    GENERATOR_STEP = 15
    ROLLOUT_NOISE = 16
    HEALTH_NOISE = 17
    REAL_NOISE = 18
    PANEL_NOISE = 19
    REAL_TIME = 20
    TEACHER_FLIP = 21
    CODEC_ORDER = 22
    CODEC_NOISE = 23


def sample_noise(seed: int, indices: Sequence[int] | Tensor, shape: Sequence[int], stream: Stream) -> Tensor:
    """Standard normal noise, float32 on the CPU, [len(indices), *shape]; row i belongs to `indices[i]`."""
    rows = [bits.standard_normal(tuple(shape), dtype=np.float32) for bits in _generators(seed, indices, stream)]
    return torch.from_numpy(np.stack(rows))


def sample_integers(seed: int, indices: Sequence[int] | Tensor, low: int, high: int, stream: Stream) -> Labels:
    """Uniform integers in [low, high), int64 on the CPU, [len(indices)]."""
    return torch.tensor([int(bits.integers(low, high)) for bits in _generators(seed, indices, stream)])


def sample_uniform(seed: int, indices: Sequence[int] | Tensor, stream: Stream) -> PerSample:
    """Uniform numbers in [0, 1), float64 on the CPU, [len(indices)]."""
    return torch.tensor([bits.random() for bits in _generators(seed, indices, stream)], dtype=torch.float64)


def batch_order(seed: int, start: int, count: int, size: int, stream: Stream = Stream.ORDER) -> list[int]:
    """Positions `start … start + count - 1` of an endless walk over `size` items, each epoch in an order of its own.

    Every item comes once an epoch; the order is a function of `(seed, stream, epoch)`.
    """
    order: list[int] = []
    for epoch in range(start // size, (start + count - 1) // size + 1):
        first = max(start - epoch * size, 0)
        order.extend(_permutation(seed, epoch, size, stream)[first : start + count - epoch * size].tolist())
    return order


@lru_cache(4)
def _permutation(seed: int, epoch: int, size: int, stream: Stream) -> NDArray[np.int64]:
    return next(_generators(seed, [epoch], stream)).permutation(size)


def _generators(seed: int, indices: Sequence[int] | Tensor, stream: Stream) -> Iterator[np.random.Generator]:
    """For each index a generator at its start: one object, whose state is set, which is faster than to make another."""
    bits = np.random.Philox(counter=np.array([0, 0, 0, stream], dtype=np.uint64), key=np.zeros(2, dtype=np.uint64))
    generator, start = np.random.Generator(bits), bits.state
    key = start["state"]["key"] = np.array([seed, 0], dtype=np.uint64)
    for index in torch.as_tensor(indices).tolist():
        key[1] = index
        bits.state = start
        yield generator
