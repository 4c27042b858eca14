"""Shared by all tests: checked tensor shapes, few threads, no analytics, and a device for those that need one."""

import os

# Before torch is imported: two workers share two cores, and a small network gains nothing from more threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")

import pytest
from jaxtyping import install_import_hook

# Shapes and types of every function in `dmd` are checked at each call, in tests only.
install_import_hook("dmd", "beartype.beartype")


def pytest_configure() -> None:
    """Keep tests on the CPU, where their own tensors lie; those marked gpu ask for their device themselves."""
    import torch

    if torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
