"""A network with its optimiser, on the devices and processes that accelerate found."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler


class Learner:
    """Descends a loss: AdamW, linear warm-up and decay, clipped gradients, and no update from a number not finite."""

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

        Raises:
            ValueError: fp16, whose loss scaling counts on gradients that overflow, which here stop the run.
        """
        if accelerator.mixed_precision == "fp16":
            raise ValueError("mixed precision fp16 is not supported; take bf16, or none")
        self.accelerator, self.max_grad_norm = accelerator, max_grad_norm
        optimizer = AdamW(module.parameters(), learning_rate, betas, weight_decay=weight_decay, fused=True)
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
        """One update on one loss; returns the gradient norm before clipping, and raises as `update` does."""
        self.accelerator.backward(loss)
        return self.update(step, terms)

    def update(self, step: int, terms: Mapping[str, Tensor]) -> Tensor:
        """One update with the gradients accumulated since the last; returns their norm before clipping.

        Raises:
            FloatingPointError: a term or the norm is not finite; names step and terms, and leaves the weights alone.
        """
        norm = self.accelerator.clip_grad_norm_(self.module.parameters(), self.max_grad_norm)
        if not torch.isfinite(torch.stack([*terms.values(), norm]).sum()):
            found = ", ".join(f"{name} {value:g}" for name, value in {**terms, "gradient norm": norm}.items())
            raise FloatingPointError(f"not finite at step {step}: {found}; lower the learning rate")
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad()
        return norm
