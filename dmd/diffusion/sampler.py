"""The teacher's deterministic ODE, from noise to image, through diffusers' schedulers.

Every solver here integrates the probability-flow ODE (Song et al. 2021, eq. 13): z -> x0 is a function.
The denoiser gives x0; each scheduler is handed `eps = (x_t - alpha_t x0) / sigma_t`, which all of them take.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.schedule import scale
from dmd.types import Images, Labels

SOLVERS: dict[str, tuple[type[SchedulerMixin], dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"set_alpha_to_one": True}),
    "euler": (EulerDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmsolver++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"}),
    "dpmsolver++3m": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "final_sigmas_type": "zero", "solver_order": 3},
    ),
    "unipc": (UniPCMultistepScheduler, {"final_sigmas_type": "zero"}),
    "deis": (DEISMultistepScheduler, {}),
}
"""By name: diffusers' class, and what differs from its defaults."""


def build_scheduler(
    scheduler_config: Mapping[str, Any], solver: str, num_steps: int, timestep_spacing: str
) -> SchedulerMixin:
    """A fresh deterministic scheduler for the schedule of `scheduler_config`, set to `num_steps`.

    Raises:
        ValueError: the solver is not one of `SOLVERS` (ancestral samplers draw fresh noise and are refused).
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver {solver!r} is not a deterministic ODE solver; take one of {', '.join(SOLVERS)}")
    kind, options = SOLVERS[solver]
    config = {**scheduler_config, "prediction_type": "epsilon", "timestep_spacing": timestep_spacing, "steps_offset": 0}
    scheduler = kind.from_config(config, **options)
    scheduler.set_timesteps(num_steps)
    return scheduler


def count_nfe(scheduler_config: Mapping[str, Any], solver: str, num_steps: int, timestep_spacing: str) -> int:
    """Network calls of one sample: one a step, but for Heun two a step and one for the last."""
    return len(build_scheduler(scheduler_config, solver, num_steps, timestep_spacing).timesteps)


@torch.no_grad()
def sample(
    denoiser: BaseDenoiser,
    z: Images,
    labels: Labels | None,
    scheduler_config: Mapping[str, Any],
    solver: str,
    num_steps: int,
    timestep_spacing: str,
) -> Images:
    """Integrate from noise `z` ~ N(0, I) to images; a pure function of its arguments.

    `scheduler_config` is the teacher's; `solver` one of `SOLVERS`; `timestep_spacing` `leading` or `trailing`.
    """
    scheduler = build_scheduler(scheduler_config, solver, num_steps, timestep_spacing)
    schedule = denoiser.schedule
    x = z * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x_t = scheduler.scale_model_input(x, t).to(z.dtype)
        steps = t.long().expand(len(z)).to(z.device)
        x0 = denoiser(x_t, steps, labels)
        eps = scale(x_t - scale(x0, schedule.alpha(steps)), 1 / schedule.sigma(steps))
        x = scheduler.step(eps, t, x).prev_sample
    return x.to(z.dtype)
