"""What a launcher of several processes leaves behind, and how a process of its group ends."""

import os
import signal
from types import FrameType

import torch

from stages.command.failures import GO_ON


def join_on_cpu() -> None:
    """Let accelerate see the group that a launcher made where there is no accelerator: it looks for one only if told.

    Else each of torchrun's processes on a CPU takes itself for the only one.
    """
    if "LOCAL_RANK" in os.environ and not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")


def leave_group() -> None:
    """Take leave of the other processes of the run, if there are any."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def end_clearly(number: int, _: FrameType | None) -> None:
    """Say why the process ends when it is told to: a launcher does so when another process of the run is gone."""
    name = signal.Signals(number).name
    raise SystemExit(f"error: stopped by {name}: the job was cancelled or another process of it is gone; {GO_ON}")
