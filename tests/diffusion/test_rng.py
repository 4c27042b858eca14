"""Random numbers belong to (seed, stream, index), and are what they say they are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dmd.diffusion.rng import Stream, batch_order, sample_integers, sample_noise, sample_uniform

pytestmark = pytest.mark.maths

SHAPE = (1, 3, 2)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.integers(0, 2**63 - 1), st.sampled_from(Stream))
def test_a_row_is_the_same_in_any_batch(indices: list[int], seed: int, stream: Stream) -> None:
    together = sample_noise(seed, indices, SHAPE, stream)
    alone = torch.cat([sample_noise(seed, [index], SHAPE, stream) for index in indices])
    reversed_order = sample_noise(seed, torch.tensor(indices[::-1]), SHAPE, stream).flip(0)
    assert torch.equal(together, alone)
    assert torch.equal(together, reversed_order)
    integers = sample_integers(seed, indices, 0, 1000, stream)
    assert integers.tolist() == [sample_integers(seed, [index], 0, 1000, stream).item() for index in indices]
    uniform = sample_uniform(seed, indices, stream)
    assert uniform.tolist() == [sample_uniform(seed, [index], stream).item() for index in indices]


@pytest.mark.parametrize("stream", [Stream.PAIRS, Stream.TEACHER_FLIP])
def test_the_numbers_are_those_of_numpys_philox_keyed_by_seed_and_index(stream: Stream) -> None:
    """Made afresh for every sample; integers leave half of a 64-bit word behind, which no later sample may find."""
    seed, indices = 2**62 + 5, [7, 0, 7, 10**6]

    def fresh(index: int) -> np.random.Generator:
        key, counter = np.array([seed, index], np.uint64), np.array([0, 0, 0, stream], np.uint64)
        return np.random.Generator(np.random.Philox(counter=counter, key=key))

    noise = np.stack([fresh(index).standard_normal(SHAPE, dtype=np.float32) for index in indices])
    assert np.array_equal(sample_noise(seed, indices, SHAPE, stream).numpy(), noise)
    assert sample_integers(seed, indices, 3, 1000, stream).tolist() == [fresh(i).integers(3, 1000) for i in indices]
    assert sample_uniform(seed, indices, stream).tolist() == [fresh(index).random() for index in indices]


def test_seeds_streams_and_indices_share_no_numbers() -> None:
    rows = [
        sample_noise(seed, range(20), (50,), stream)
        for seed in (0, 1, 2, 2**62)
        for stream in (Stream.PAIRS, Stream.EVALUATION, Stream.GENERATOR)
    ]
    values = torch.cat(rows).flatten()
    # float32 normals have about 2^24 common values: 12,000 draws meet a few times by chance, never by whole rows.
    assert len(values.unique()) > 0.995 * len(values)
    correlation = np.corrcoef(torch.cat(rows).numpy()) - np.eye(4 * 3 * 20)
    assert np.abs(correlation).max() < 6 / np.sqrt(50)


def test_streams_do_not_run_into_each_other() -> None:
    """A long draw of one stream holds no start of the next stream, as overlapping counters would."""
    long = sample_noise(7, [3], (100_000,), Stream.PAIRS)[0]
    for stream in Stream:
        start = sample_noise(7, [3], (2,), stream)[0]
        found = ((long[:-1] == start[0]) & (long[1:] == start[1])).nonzero().flatten().tolist()
        assert found == ([0] if stream == Stream.PAIRS else [])


def test_noise_is_standard_normal() -> None:
    noise = sample_noise(11, range(400), (1, 10, 10), Stream.PAIRS).numpy().astype(np.float64)
    count = noise.size
    assert noise.dtype == np.float64
    assert abs(noise.mean()) < 4 / np.sqrt(count)
    assert abs(noise.var() - 1) < 4 * np.sqrt(2 / count)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    # Along the samples too: the first number of each is a function of the index alone.
    assert stats.kstest(sample_noise(11, range(3000), (1,), Stream.PAIRS).numpy().ravel(), "norm").pvalue > 0.01
    assert sample_noise(11, [0], SHAPE, Stream.PAIRS).dtype == torch.float32


@pytest.mark.parametrize(("low", "high"), [(0, 10), (3, 7), (0, 1)])
def test_integers_are_uniform_and_half_open(low: int, high: int) -> None:
    drawn = sample_integers(5, range(4000), low, high, Stream.FAKE_TIME)
    assert drawn.dtype == torch.int64
    assert drawn.min() == low
    assert drawn.max() == high - 1
    counts = torch.bincount(drawn - low, minlength=high - low).numpy()
    assert high - low == 1 or stats.chisquare(counts).pvalue > 0.01


def test_uniform_numbers_are_uniform() -> None:
    drawn = sample_uniform(5, range(4000), Stream.TEACHER_DROPOUT)
    assert drawn.dtype == torch.float64
    assert stats.kstest(drawn.numpy(), "uniform").pvalue > 0.01


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=st.integers(1, 17),
    start=st.integers(0, 100),
    pieces=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    seed=st.integers(0, 100),
)
def test_an_order_is_the_same_in_pieces(size: int, start: int, pieces: list[int], seed: int) -> None:
    whole = batch_order(seed, start, sum(pieces), size)
    joined: list[int] = []
    for count in pieces:
        joined += batch_order(seed, start + len(joined), count, size)
    assert joined == whole
    assert len(whole) == sum(pieces)


def test_every_epoch_visits_every_item_once_in_its_own_order() -> None:
    size = 50
    epochs = [tuple(batch_order(3, epoch * size, size, size)) for epoch in range(6)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({*epochs, tuple(range(size)), tuple(batch_order(4, 0, size, size))}) == len(epochs) + 2
