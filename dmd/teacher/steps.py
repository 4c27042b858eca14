"""The steps of a training that is made here: from the newest checkpoint to the last, whatever is trained."""

import logging
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import torch
from accelerate import Accelerator
from accelerate.utils import tqdm
from torch import Tensor

from dmd.training.checkpoint import TrainingState
from dmd.training.learner import SETTLE_STEPS, Learner, settle

logger = logging.getLogger(__name__)


def share_of_batch(batch_size: int, accelerator: Accelerator, section: str) -> int:
    """How many samples of each batch one process takes.

    Raises:
        ValueError: the processes cannot share it; names the param `batch_size` of `section`.
    """
    if batch_size % accelerator.num_processes:
        raise ValueError(
            f"{section}.batch_size {batch_size} is not a multiple of {accelerator.num_processes} processes"
        )
    return batch_size // accelerator.num_processes


def train_steps(
    update: Callable[[int], Tensor],
    learner: Learner,
    state: TrainingState,
    work: Path,
    steps: int,
    checkpoint_steps: int,
    what: str,
) -> list[float]:
    """Call `update`, which gives this process's loss, with each step that is left; returns the loss of every step.

    Raises:
        FloatingPointError: a loss or gradient norm is not finite; names the first such step.
    """
    start, losses = state.resume(work)
    losses = losses or []
    logger.info("training the %s from step %d of %d", what, start, steps)
    pending: list[Tensor] = []
    for step in tqdm(range(start, steps), what, total=steps, initial=start):
        pending.append(update(step))
        ends = (step + 1) % checkpoint_steps == 0 or step + 1 == steps
        if ends or (step + 1) % SETTLE_STEPS == 0:
            settle(learner)
        if ends:
            losses.extend(learner.accelerator.reduce(torch.stack(pending), "mean").tolist())
            logger.info("step %d: loss %.4f", step + 1, fmean(losses[-len(pending) :]))
            pending.clear()
            if learner.accelerator.is_main_process:
                state.save(work, step + 1, losses)
    return losses
