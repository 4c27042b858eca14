"""The params of the deterministic solvers: of pairs and of evaluation."""

from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from dmd.params.section import LEAST_SAMPLES, Count, Section, Switch

Solver = Literal["ddim", "euler", "heun", "dpmsolver++", "dpmsolver++3m", "unipc"]
"""Deterministic ODE solvers, by the names of `dmd.diffusion.sampler`."""

ANCESTRAL = ("ddpm", "euler_ancestral", "dpm2_ancestral", "sde-dpmsolver++", "lcm")
"""Samplers that draw fresh noise at each step: no pair can be made with them."""

Spacing = Literal["leading", "trailing", "linspace"]
"""How a solver's steps are laid over the T training timesteps: from 0 up, from T - 1 down, or with both ends."""

ANY_SCHEDULE = ("euler", "heun")
"""Solvers for any schedule; the others are for betas."""


class Sampling(Section):
    """A deterministic ODE solver and its steps."""

    solver: Solver
    """The ODE solver; ancestral samplers draw fresh noise and are refused."""
    num_steps: Count
    """Steps of the solver (Heun makes two network calls a step but the last)."""
    timestep_spacing: Spacing
    """How the steps are laid over the training timesteps."""
    batch_size: Count
    """Images a network call; changes speed and memory only."""

    @model_validator(mode="before")
    @classmethod
    def _deterministic(cls, values: Any) -> Any:
        solver = values.get("solver") if isinstance(values, dict) else None
        if solver in ANCESTRAL:
            reason = "is ancestral: it draws fresh noise at each step, so an image is not a function of its z"
            raise ValueError(f"solver {solver!r} {reason}; take one of {', '.join(get_args(Solver))}")
        return values

    @model_validator(mode="after")
    def _spacing_reaches_noise(self) -> "Sampling":
        if self.timestep_spacing == "leading" and self.solver in ("dpmsolver++", "dpmsolver++3m", "unipc"):
            raise ValueError(
                f"timestep_spacing `leading` leaves out the noisiest timesteps with solver `{self.solver}` "
                "(diffusers divides T by num_steps + 1); take `trailing`"
            )
        return self

    @model_validator(mode="after")
    def _spacing_has_timesteps(self) -> "Sampling":
        if self.timestep_spacing == "linspace" and self.solver not in ANY_SCHEDULE:
            raise ValueError(
                f"timestep_spacing `linspace` belongs to the solvers {' and '.join(ANY_SCHEDULE)}: those of "
                f"`{self.solver}` would fall between timesteps; take `trailing`"
            )
        return self

    def check_timesteps(self, total: int, section: str) -> None:
        """Hold the steps against a schedule of `total` timesteps; `section` is this one's name in the params.

        Raises:
            ValueError: they are more than its timesteps, do not divide them, as diffusers' DDIM assumes, or are such
                that diffusers lays one more.
        """
        if self.num_steps > total:
            raise ValueError(f"{section}.num_steps {self.num_steps} is above num_train_timesteps {total}; lower it")
        laid = len(np.arange(total, 0, -total / self.num_steps))  # as diffusers lays them
        if self.timestep_spacing == "trailing" and self.solver not in ANY_SCHEDULE and laid != self.num_steps:
            raise ValueError(
                f"{section}.num_steps {self.num_steps}: diffusers' rounding makes {laid} over {total} timesteps, the "
                "last below 0; take another number"
            )
        if self.solver == "ddim" and total % self.num_steps:
            raise ValueError(
                f"{section}.num_steps {self.num_steps} does not divide the schedule's {total} timesteps, as diffusers' "
                "DDIM assumes; take a divisor, or solver `euler`, which makes the same step"
            )


class Pairs(Sampling):
    """The noise-image pairs of the regression loss."""

    count: Count
    """Number of pairs."""
    shard_size: Count
    """Pairs a shard file; changes files only, never a pair."""
    compile: Switch = False
    """Compile the teacher with `torch.compile`: faster after a wait, and the same pairs but for rounding."""


class Evaluate(Sampling):
    """Scores of the teacher, and of the student before and after."""

    features: Literal["lenet", "fashion_lenet", "efficientnet_lite0", "inception"]
    """The feature net of the scores: MNIST's LeNet, Fashion-MNIST's, an ImageNet net, or FID's Inception network."""
    num_samples: Annotated[int, Field(ge=LEAST_SAMPLES, strict=True)]
    """Samples of each model in a set; the kernel distance splits them into ten subsets of two or more."""
    num_sets: Count = 3
    """Disjoint sets of noises: scores are means over them, with their standard deviation from two on."""
    clip: str | None = None
    """Of a system with prompts: a folder with a CLIP model in transformers' format, to score how images fit them."""
