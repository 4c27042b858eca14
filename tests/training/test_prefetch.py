"""Batches read ahead are those that are made at once, and one is always under way."""

import os
import threading

import pytest
import torch

from dmd.training.prefetch import ReadAhead, ReadAheadInProcesses

CPU = torch.device("cpu")


def test_batches_are_those_of_their_numbers_in_any_order() -> None:
    ahead = ReadAhead(lambda number: {"x": torch.tensor([number]), "y": torch.tensor([number**2])}, CPU)
    for number in (0, 1, 2, 7, 8, 3, 3, 4):
        batch = ahead(number)
        assert (batch["x"].item(), batch["y"].item()) == (number, number**2)


def test_the_next_batch_is_made_while_this_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def make(number: int) -> dict[str, torch.Tensor]:
        begun[number].set()
        return {"thread": torch.tensor(threading.get_ident())}

    ahead = ReadAhead(make, CPU)
    assert ahead(0)["thread"].item() == threading.get_ident()
    assert begun[1].wait(10)
    assert ahead(1)["thread"].item() != threading.get_ident()


def test_an_error_comes_with_its_own_batch_alone() -> None:
    def make(number: int) -> dict[str, torch.Tensor]:
        if number == 1:
            raise ValueError("shard 1")
        return {"x": torch.tensor(number)}

    ahead = ReadAhead(make, CPU)
    assert ahead(0)["x"].item() == 0
    with pytest.raises(ValueError, match="shard 1"):
        ahead(1)
    assert ahead(2)["x"].item() == 2


def test_processes_make_the_same_batches_in_any_order_and_leave_the_global_generator_alone() -> None:
    def make(number: int) -> dict[str, torch.Tensor]:
        return {"x": torch.tensor([number]), "y": torch.tensor([number**2]), "process": torch.tensor(os.getpid())}

    torch.manual_seed(1)
    state, makers = torch.get_rng_state(), set()
    ahead = ReadAheadInProcesses(make, CPU, 2)
    for number in (0, 1, 2, 3, 7, 8, 3, 3, 4):
        batch = ahead(number)
        assert (batch["x"].item(), batch["y"].item()) == (number, number**2)
        makers.add(batch["process"].item())
    assert os.getpid() not in makers
    assert len(makers) > 2
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_in_a_process_reaches_the_caller() -> None:
    def make(number: int) -> dict[str, torch.Tensor]:
        raise ValueError("shard 1")

    with pytest.raises(ValueError, match="shard 1"):
        ReadAheadInProcesses(make, CPU, 1)(0)
