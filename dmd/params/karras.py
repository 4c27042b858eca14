"""The params of an EDM teacher's noise schedule."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dmd.params.section import Section

Level = Annotated[float, Field(ge=1e-6, le=1e6)]
"""A standard deviation, or a factor."""


class KarrasSchedule(Section):
    """Noise levels of a network with EDM preconditioning, which is told the level itself (Karras et al. 2022).

    How the levels are laid out is free: for an imported teacher too. What belongs to the network, `sigma_data` and
    `time_scale`, must agree with the checkpoint.
    """

    prediction_type: Literal["edm"]
    """What the network's output means."""
    num_train_timesteps: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = 1000
    """T, levels of the table."""
    sigma_min: Level = 0.002
    """The least noise."""
    sigma_max: Level = 80.0
    """The greatest, from which images are drawn."""
    rho: Annotated[float, Field(ge=1, le=100)] = 7.0
    """sigma^(1 / rho) goes up in equal steps."""
    sigma_data: Level = 0.5
    """Standard deviation of the images that the preconditioning is made for."""
    time_scale: Level = 250.0
    """The network is told time_scale · ln sigma: 0.25 under an `EDMEulerScheduler`, 250 in a consistency pipeline."""

    @model_validator(mode="after")
    def _levels_grow(self) -> "KarrasSchedule":
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min} is not below sigma_max {self.sigma_max}; correct them")
        return self
