"""How a pair is made: all that it depends on, and the teacher's ODE from its noise to its image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmd.datasets.labels import balanced_labels, stored_labels
from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.rng import Stream, sample_noise
from dmd.diffusion.sampler import count_nfe, sample


@dataclass(frozen=True)
class PairRecipe:
    """All that a pair depends on, besides its index and the teacher's weights."""

    seed: int
    image_shape: tuple[int, ...]
    num_classes: int | None
    guidance_scale: float
    scheduler_config: Mapping[str, Any]
    solver: str
    num_steps: int
    timestep_spacing: str

    @property
    def columns(self) -> dict[str, Any]:
        """What the manifest says of the recipe, by column."""
        kept = ("seed", "guidance_scale", "solver", "num_steps", "timestep_spacing")
        return {name: getattr(self, name) for name in kept} | {"nfe": self.nfe}

    @property
    def nfe(self) -> int:
        """Network calls a pair."""
        return count_nfe(self.solver, self.num_steps)


def make_pairs(denoiser: BaseDenoiser, recipe: PairRecipe, rows: range) -> dict[str, Tensor]:
    """Pairs of the given rows, on the CPU: `z`, `x0` [N, C, H, W] float32, `label`, `index` [N] int64.

    x0 is the teacher's ODE solution from z ~ N(0, I), all rows in one batch. Row i is a function of the recipe and i;
    to the bit it also depends on the size of the batch, hence the fixed batches of `dmd.pairs.chunks`. Label NO_LABEL
    means none.
    """
    device = next(denoiser.parameters()).device
    z = sample_noise(recipe.seed, rows, recipe.image_shape, Stream.PAIRS)
    labels = balanced_labels(rows, recipe.num_classes)
    x0 = sample(
        denoiser,
        z.to(device),
        None if labels is None else labels.to(device),
        recipe.scheduler_config,
        recipe.solver,
        recipe.num_steps,
        recipe.timestep_spacing,
    )
    index = torch.tensor(list(rows))
    return {
        "z": z,
        "x0": x0.float().cpu(),
        "label": stored_labels(labels, len(index)),
        "index": index,
    }
