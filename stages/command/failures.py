"""Failures of the machine, as a sentence with the cure: what is not a mistake in the code needs no traceback."""

import errno
import re
import traceback
from pathlib import Path

import torch
from safetensors import SafetensorError

SCREEN = 1600
"""Characters of a sentence that is printed."""

GO_ON = "run the stage again: it goes on from what is finished in .work"

LOST = re.compile(r"closed by peer|connection reset|connection closed|broken pipe|connection refused|timed? ?out", re.I)
"""What gloo and NCCL say when another process is gone."""

FULL = re.compile(r"no space left|file too large|disk quota", re.I)
"""What a full disk says."""

STARVED = re.compile(r"can't allocate memory", re.I)
"""What torch says when the system gives it no more."""

THREADS = re.compile(r"can't start new thread|resource temporarily unavailable", re.I)
"""What Python and the system say when a process may have no more threads."""

COMPILERS = ("torch._dynamo", "torch._inductor")
"""Whose errors are those of `torch.compile`; named, since the import takes seconds."""


def explain(error: BaseException) -> str | None:
    """What failed and how to go on; None where the error is none of the machine's, nor of a file."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or STARVED.search(text):
        cure = "lower distill.micro_batch_size or set distill.gradient_checkpointing (the results stay), or batch_size"
        return f"out of memory: {text[:200] or 'no more is given'}; {cure}; then {GO_ON}"
    if THREADS.search(text):
        cure = "raise the limit of processes (ulimit -u), or set OMP_NUM_THREADS lower"
        return f"no more threads are given: {text[:200]}; {cure}; then {GO_ON}"
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)) or FULL.search(text):
        return f"the disk is full: {text[:300]}; make room, then {GO_ON}"
    if isinstance(error, SafetensorError):
        return f"a safetensors file cannot be read or written: {text[:300]}; run the stage that makes it again"
    if isinstance(error, RuntimeError) and torch.distributed.is_initialized() and LOST.search(text):
        return f"another process of this run is gone: {text[:200]}; {GO_ON}"
    if any(kind.__module__.startswith(COMPILERS) for kind in type(error).__mro__):
        return f"torch.compile failed: {text[:300]}; set pairs.compile and distill.compile to false; then {GO_ON}"
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        return f"{text} (in {_place(error)}); look at the disk, its mount and its limits; then {GO_ON}"
    if isinstance(error, FloatingPointError | OSError | ValueError):
        return shorten(str(error))
    return None


def shorten(sentence: str) -> str:
    """At most a screen of it: the beginning, which names value and place, and the end, which has the cure."""
    left_out = len(sentence) - SCREEN
    if left_out <= 0:
        return sentence
    return f"{sentence[: SCREEN * 3 // 4]} … ({left_out} characters are left out) … {sentence[-SCREEN // 4 :]}"


def _place(error: BaseException) -> str:
    """The line of this project that met a system's error which names no file."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if {"dmd", "stages"} & set(Path(frame.filename).parts)]
    frame = (ours or frames)[-1] if frames else None
    return "an unknown place" if frame is None else f"{frame.filename}, line {frame.lineno}: {frame.line}"
