"""Any environment leaves results as they are or is refused by name: accelerate's, launchers', OpenMP's variables."""

import inspect
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any
from unittest import mock

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from dmd.runtime.launched import NUMBERS, check_processes, check_settings, is_first_process
from dmd.training.accelerator import build_accelerator
from dmd.training.learner import Learner
from tests.runtime.test_launched import LAUNCHED, TORCHRUN, read_by_accelerate
from tests.survival.figures import keep
from tests.survival.victims import ROOT

SETTINGS = sorted(read_by_accelerate() | LAUNCHED.keys() | {"FORK_LAUNCHED"})
LAUNCHERS = sorted({*NUMBERS, *TORCHRUN, "PMI_RANK", "OMPI_COMM_WORLD_RANK", "OMP_NUM_THREADS"})
WORDS = ["", "no", "NO", "yes", "true", "False", "default", "bf16", "fp16", "inductor", "foo", " 1", "1.0", "-1", "٢"]
VALUES = st.sampled_from(WORDS) | st.integers(-3, 5).map(str) | st.text("abz019 ._-", max_size=5)
ENVIRONMENTS = st.one_of(
    st.dictionaries(st.sampled_from(SETTINGS), VALUES, min_size=1, max_size=2),
    st.dictionaries(st.sampled_from(LAUNCHERS), VALUES, min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(LAUNCHERS), VALUES, min_size=1, max_size=2).map(lambda some: TORCHRUN | some),
    st.sampled_from(SETTINGS).flatmap(lambda name: VALUES.map(lambda value: LAUNCHED | {name: value})),
)

OPENMP = {
    "OMP_NUM_THREADS": ("foo", "0", "-1", "3", "2,1", ""),
    "OMP_SCHEDULE": ("dynamic,1", "foo"),
    "OMP_DYNAMIC": ("true",),
    "OMP_PROC_BIND": ("close", "foo"),
    "OMP_THREAD_LIMIT": ("1",),
}


def update() -> list[float]:
    """The weights of a small network after an update, by the accelerator that a training has."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    check_processes()
    check_settings()
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    learner = Learner(build_accelerator(None, "distill.mixed_precision"), module, 1e-2, (0.9, 0.99), 0.1, 0.5)
    loss = learner.module(torch.ones(2, 4)).square().mean()
    norm = learner.descend(loss, 0, {"loss": loss})
    return [*module.weight.flatten().tolist(), norm.item()]


UPDATE = f"""
import torch
from accelerate.state import AcceleratorState, GradientState
from torch import nn

from dmd.runtime.launched import check_processes, check_settings
from dmd.training.accelerator import build_accelerator
from dmd.training.learner import Learner

{inspect.getsource(update)}
print(update())
"""
"""A program of its own: OpenMP's variables are read as a process starts."""


def outcome(environment: Mapping[str, str], expected: list[float]) -> str:
    """What becomes of a process in this environment: `refused`, `same`, or `group` where it would join others.

    A refusal is held to name a variable; a process of a group to know its number.
    """
    clean = {name: value for name, value in os.environ.items() if name not in {*SETTINGS, *LAUNCHERS}}
    with mock.patch.dict(os.environ, clean | dict(environment), clear=True):
        try:
            check_processes()
            if environment.get("LOCAL_RANK", "-1") != "-1":
                assert is_first_process() == (int(environment["RANK"]) == 0)
                assert int(environment["RANK"]) < int(environment["WORLD_SIZE"])
                check_settings()
                return "group"
            found, said = update(), ""
        except ValueError as error:
            found, said = None, str(error)
    if found is not None:
        assert found == expected, environment
        return "same"
    assert any(name in said for name in environment), said
    return "refused"


def try_all(number: int) -> Counter[str]:
    """Try `number` environments; how often each outcome came."""
    expected, counts = update(), Counter[str]()
    tried: set[tuple[Any, ...]] = set()

    @settings(max_examples=number, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(ENVIRONMENTS)
    def one(environment: dict[str, str]) -> None:
        found, key = outcome(environment, expected), tuple(sorted(environment.items()))
        counts[found] += key not in tried
        tried.add(key)

    one()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return counts


def test_dozens_of_environments_change_nothing_or_are_refused_by_name() -> None:
    counts = try_all(100)
    assert min(counts[name] for name in ("refused", "same", "group")) >= 1


@pytest.mark.slow
def test_thousands_of_environments_change_nothing_or_are_refused_by_name() -> None:
    counts, expected = try_all(3000), update()
    for name, values in OPENMP.items():
        for value in values:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), name: value}
            command = [sys.executable, "-c", UPDATE]
            ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
            assert ran.stdout.strip().splitlines()[-1] == str(expected), (name, value)
            counts["same"] += 1
    keep(environments={"total": counts.total(), **counts})
    assert counts.total() >= 2000
