"""The device that a command draws and scores on."""

import torch
from accelerate import Accelerator

from dmd.runtime.launched import avoid_mps


def find_device() -> torch.device:
    """That of accelerate: a CUDA device where there is one, otherwise the CPU, on a Mac too."""
    avoid_mps()
    return Accelerator().device
