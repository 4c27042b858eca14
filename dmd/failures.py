"""Failures of the machine, as a sentence with the cure: what is not a mistake in the code needs no traceback."""

import errno
import re

import torch
from safetensors import SafetensorError

GO_ON = "run the stage again: it goes on from what is finished in .work"

LOST = re.compile(r"closed by peer|connection reset|connection closed|broken pipe|connection refused|timed? ?out", re.I)
"""What gloo and NCCL say when another process is gone."""

FULL = re.compile(r"no space left|file too large|disk quota", re.I)
"""What a full disk says."""


def explain(error: BaseException) -> str | None:
    """What failed and how to go on; None where the error is none of the machine's, nor of a file."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        cure = "lower distill.micro_batch_size or set distill.gradient_checkpointing (the results stay), or batch_size"
        return f"out of memory: {text[:200] or 'no more is given'}; {cure}; then {GO_ON}"
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)) or FULL.search(text):
        return f"the disk is full: {text[:300]}; make room, then {GO_ON}"
    if isinstance(error, SafetensorError):
        return f"a safetensors file cannot be read or written: {text[:300]}; run the stage that makes it again"
    if isinstance(error, RuntimeError) and torch.distributed.is_initialized() and LOST.search(text):
        return f"another process of this run is gone: {text[:200]}; {GO_ON}"
    if isinstance(error, FloatingPointError | OSError | ValueError):
        return str(error)
    return None
