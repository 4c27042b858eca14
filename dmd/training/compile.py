"""Networks compiled by torch: faster passes after a wait, and the same numbers but for rounding."""

import os
import shutil
import sys

import torch
from torch import nn


def compile_network(network: nn.Module, device: torch.device, key: str) -> None:
    """Let torch compile each pass of `network` when it is first made: for its batch size, with and without gradient.

    It is changed in place; the names of its parameters and buffers stay.

    Raises:
        ValueError: a CPU without the C++ compiler that torch takes: `$CXX`, else g++, on macOS clang++. Names `key`,
            the param that asked for it.
    """
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise ValueError(
            f"{key} true: for a CPU torch.compile needs a C++ compiler, and there is no {compiler}; install one, or "
            "set it to false"
        )
    network.compile(dynamic=False, isolate_recompiles=True)
