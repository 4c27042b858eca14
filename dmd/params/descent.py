"""The params that every training of a teacher's networks has."""

from typing import Annotated

from pydantic import Field

from dmd.params.section import Count, Decay, Rate, Section


class Descent(Section):
    """Updates of AdamW under a warm-up and a cosine, with averaged weights."""

    steps: Count
    """Optimiser updates."""
    batch_size: Count
    """Images an update."""
    learning_rate: Rate
    """Peak; cosine decay to zero after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0, strict=True)]
    """Updates of linear warm-up."""
    ema_decay: Decay
    """Of the weights that are kept. After s updates it is at most (1 + s) / (10 + s)."""
    max_grad_norm: Annotated[float, Field(gt=0)]
    """Gradient norms are clipped here."""
    checkpoint_steps: Count
    """Updates between checkpoints in `.work/`."""
