"""Steps that a solver cannot take are refused before any is taken."""

import pytest

from dmd.diffusion.sampler import build_scheduler
from dmd.params.sampling import Pairs


@pytest.mark.parametrize(
    ("total", "steps", "fits"), [(400, 29, False), (1000, 61, False), (1000, 60, True), (100, 8, True)]
)
def test_steps_that_diffusers_rounds_to_one_more_are_refused(total: int, steps: int, fits: bool) -> None:
    """The float error of its spacing adds a timestep -1, at which no schedule and no network has a value."""
    pairs = Pairs(count=1, shard_size=1, batch_size=1, solver="unipc", num_steps=steps, timestep_spacing="trailing")
    scheduler = build_scheduler({"num_train_timesteps": total}, "unipc", steps, "trailing")
    assert (len(scheduler.timesteps) == steps) == fits
    if fits:
        pairs.check_timesteps(total, "pairs")
        return
    with pytest.raises(ValueError, match=rf"pairs.num_steps {steps}: .* makes {steps + 1} .*; take another number$"):
        pairs.check_timesteps(total, "pairs")
