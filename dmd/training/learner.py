"""A network with its optimiser, on the devices and processes that accelerate found."""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler

SETTLE_STEPS = 16
"""Steps from one `settle` to the next."""


class Update(NamedTuple):
    """What an update was made of, still on the device."""

    step: int
    names: tuple[str, ...]
    values: Tensor
    """The terms and the gradient norm, in the order of their names."""


class Learner:
    """Descends a loss: AdamW, linear warm-up and decay, clipped gradients, and no update from a number not finite.

    No update waits for the device: from the first number that is not finite on, AdamW's kernel itself leaves weights
    and state alone, and `settle` says so later.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        learning_rate: float,
        betas: tuple[float, float],
        weight_decay: float,
        max_grad_norm: float,
    ) -> None:
        """Prepare `module` for training on `accelerator`'s device; the rate is constant until `schedule` is called.

        Not in fp16, whose loss scaling counts on gradients that overflow, which here stop the run.
        """
        self.accelerator, self.max_grad_norm = accelerator, max_grad_norm
        optimizer = AdamW(module.parameters(), learning_rate, betas, weight_decay=weight_decay, fused=True)
        self._broken = torch.zeros((), device=accelerator.device)
        vars(optimizer)["found_inf"] = self._broken  # GradScaler's: where it is 1, the fused kernel changes nothing
        self.unsettled: list[Update] = []
        self.module, self.optimizer = accelerator.prepare(module, optimizer)
        self.lr_scheduler: LRScheduler = get_scheduler("constant", optimizer)

    def schedule(self, shape: str, warmup_steps: int, steps: int) -> "Learner":
        """Warm up over `warmup_steps`, then keep the rate (`constant`) or let it fall to zero at `steps`."""
        name = "constant_with_warmup" if shape == "constant" else shape
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        self.lr_scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps)
        return self

    def accumulate(self, last: bool) -> AbstractContextManager[None]:
        """The context of one micro-batch's forward and backward pass; processes share gradients in the last alone."""
        return nullcontext() if last else self.accelerator.no_sync(self.module)

    def descend(self, loss: Tensor, step: int, terms: Mapping[str, Tensor]) -> Tensor:
        """One update on one loss; returns the gradient norm before clipping."""
        self.accelerator.backward(loss)
        return self.update(step, terms)

    def update(self, step: int, terms: Mapping[str, Tensor]) -> Tensor:
        """One update with the gradients accumulated since the last; returns their norm before clipping.

        None happens, and no later one, where a term or the norm is not finite.
        """
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.max_grad_norm)
        values = torch.stack([*(term.detach().float() for term in terms.values()), norm.float()])
        self._broken.copy_(torch.maximum(self._broken, 1 - values.isfinite().all().float()))
        self.unsettled.append(Update(step, (*terms, "gradient norm"), values))
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad()
        return norm


def settle(*learners: Learner) -> None:
    """Look at all updates since the last time, in one transfer; whatever is kept of a run must be settled before.

    Raises:
        FloatingPointError: a term or a gradient norm was not finite; names the first step with one, and its terms. That
            learner's weights are as they were before that step.
    """
    updates = sorted((update for learner in learners for update in learner.unsettled), key=lambda update: update.step)
    found = iter(torch.cat([update.values for update in updates]).tolist() if updates else [])
    for update in updates:
        terms = {name: next(found) for name in update.names}
        if not all(map(math.isfinite, terms.values())):
            said = ", ".join(f"{name} {value:g}" for name, value in terms.items())
            raise FloatingPointError(f"not finite at step {update.step}: {said}; lower the learning rate")
    for learner in learners:
        learner.unsettled.clear()
