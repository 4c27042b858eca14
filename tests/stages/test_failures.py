"""Failures of the machine are told with their cure; mistakes in the code keep their traceback."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
import torch._dynamo

from stages.command.failures import SCREEN, explain

COMPILE = """
import torch
from stages.command.failures import explain
try:
    torch.compile(lambda x: (x.sin() + 1).cos())(torch.ones(4))
except Exception as error:
    print(explain(error))
"""


@pytest.fixture
def endless_stacks() -> Iterator[None]:
    """Threads that ask for more memory than any address space has."""
    before = threading.stack_size(1 << 60)
    yield
    threading.stack_size(before)


def test_thread_that_the_system_refuses(endless_stacks: None) -> None:
    with pytest.raises(RuntimeError) as caught:
        threading.Thread(target=print).start()
    said = explain(caught.value)
    assert said is not None
    assert said.startswith("no more threads are given: can't start new thread; raise the limit of processes ")


def test_compiler_that_fails() -> None:
    environment = {**os.environ, "CXX": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    ran = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("torch.compile failed: ")
    assert "set pairs.compile and distill.compile to false" in ran.stdout


def test_what_the_compiler_cannot_follow() -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
        raise KeyError("no such kernel")

    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed) as caught:
        torch.compile(lambda x: x + 1, backend=broken)(torch.ones(2))
    said = explain(caught.value)
    assert said is not None
    assert "no such kernel" in said
    assert "distill.compile" in said


@pytest.mark.parametrize("error", [KeyError("steps"), TypeError("None"), RuntimeError("shapes 2 and 3")])
def test_mistakes_in_the_code_keep_their_traceback(error: Exception) -> None:
    assert explain(error) is None


def test_a_long_refusal_fits_a_screen_with_its_place_and_cure() -> None:
    said = explain(ValueError(f"params.yaml: it does not fit: {'a mismatch, ' * 1000}; restore it"))
    assert said is not None
    assert len(said) < SCREEN + 60
    assert said.startswith("params.yaml: it does not fit: ")
    assert said.endswith("; restore it")
    assert " characters are left out) " in said


def test_an_error_of_the_system_without_a_name_is_told_with_its_place() -> None:
    with pytest.raises(OSError, match="Function not implemented") as caught:
        raise OSError(errno.ENOSYS, "Function not implemented")
    said = explain(caught.value)
    assert said is not None
    assert "Function not implemented (in " in said
    assert "raise OSError(errno.ENOSYS" in said
    assert "look at the disk" in said
