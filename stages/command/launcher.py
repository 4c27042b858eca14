"""What a launcher of several processes leaves behind, and how a process of its group ends."""

import functools
import os
import signal
import threading

import torch

from dmd.runtime.launched import avoid_mps
from stages.command.failures import GO_ON


def join_on_cpu() -> None:
    """Let accelerate see the group that a launcher made where there is no accelerator: it looks for one only if told.

    Else each of torchrun's processes on a CPU takes itself for the only one.
    """
    if "LOCAL_RANK" in os.environ and not torch.accelerator.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    avoid_mps()


def leave_group() -> None:
    """Take leave of the other processes of the run, if there are any."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@functools.cache
def end_clearly() -> None:
    """From now on, say why this process ends when it is told to, and end at once, also amid a wait for its group.

    A launcher tells it so when another process of the run is gone. Python's own handlers run between its instructions:
    never, while native code waits for other processes. So a thread waits for the signal's number, which Python's
    handler in C writes down at once.
    """
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_forget_signals)
    threading.Thread(target=_end_on_signal, args=(receiver,), daemon=True, name="end_clearly").start()


_before_fork = threading.local()
"""The signals that the thread which forks held back before."""


def _hold_back() -> None:
    """Keep SIGTERM from a forked process until it has forgotten the handler, by which it would end its parent."""
    _before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _let_through() -> None:
    """Undo `_hold_back`."""
    signal.pthread_sigmask(signal.SIG_SETMASK, _before_fork.mask)


def _forget_signals() -> None:
    """Let a forked process end as processes do by themselves."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_through()


def _end_on_signal(receiver: int) -> None:
    """Wait for SIGTERM, and end the process. Nothing is tidied up: whatever is on disk is whole, or made again."""
    while signal.SIGTERM not in os.read(receiver, 64):
        pass
    sentence = f"error: stopped by SIGTERM: the job was cancelled or another process of it is gone; {GO_ON}\n"
    os.write(2, sentence.encode())
    os._exit(1)
