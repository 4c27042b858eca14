"""The teacher's deterministic ODE, from noise to image: by the steps of `ode`, or through diffusers' schedulers.

Every solver here integrates the probability-flow ODE (Song et al. 2021, eq. 13): z -> x0 is a function.
The denoiser gives x0; each scheduler is handed `eps = (x_t - alpha_t x0) / sigma_t`, which all of them take.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.ode import integrate, step_times
from dmd.diffusion.schedule import scale
from dmd.types import Images, Labels

ORDERS = {"euler": 1, "heun": 2}
"""Solvers for any schedule, by name: how their error falls with the step. One of order 2 calls the network twice."""

SCHEDULERS: dict[str, tuple[type[SchedulerMixin], dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"set_alpha_to_one": True}),
    "dpmsolver++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"}),
    "dpmsolver++3m": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "final_sigmas_type": "zero", "solver_order": 3},
    ),
    "unipc": (UniPCMultistepScheduler, {"final_sigmas_type": "zero"}),
}
"""Solvers for schedules of betas, by name: diffusers' class, and what differs from its defaults."""

SOLVERS = (*ORDERS, *SCHEDULERS)
"""All of them."""


def build_scheduler(
    scheduler_config: Mapping[str, Any], solver: str, num_steps: int, timestep_spacing: str
) -> SchedulerMixin:
    """A fresh one of `SCHEDULERS` for the schedule of `scheduler_config`, set to `num_steps`."""
    kind, options = SCHEDULERS[solver]
    config = {**scheduler_config, "prediction_type": "epsilon", "timestep_spacing": timestep_spacing, "steps_offset": 0}
    scheduler = kind.from_config(config, **options)
    scheduler.set_timesteps(num_steps)
    return scheduler


def count_nfe(solver: str, num_steps: int) -> int:
    """Network calls of one sample: one a step, but for Heun two a step and one for the last."""
    return 2 * num_steps - 1 if ORDERS.get(solver) == 2 else num_steps


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

    `scheduler_config` is the teacher's; `solver` one of `SOLVERS`; `timestep_spacing` `leading`, `trailing` or, for
    `euler` and `heun`, `linspace`.

    Raises:
        ValueError: the solver is not one of `SOLVERS` (ancestral samplers draw fresh noise and are refused), or not one
            for a schedule without betas.
    """
    if solver not in SOLVERS:
        raise ValueError(f"solver {solver!r} is not a deterministic ODE solver; take one of {', '.join(SOLVERS)}")
    schedule = denoiser.schedule
    if solver in ORDERS:
        times = step_times(schedule.num_timesteps, num_steps, timestep_spacing)
        return integrate(denoiser, z, labels, times, ORDERS[solver])
    if schedule.time_scale is not None:
        raise ValueError(f"solver {solver!r} is for a schedule of betas; take one of {', '.join(ORDERS)}")
    scheduler = build_scheduler(scheduler_config, solver, num_steps, timestep_spacing)
    x = z * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x_t = scheduler.scale_model_input(x, t).to(z.dtype)
        steps = t.long().expand(len(z)).to(z.device)
        x0 = denoiser(x_t, steps, labels)
        eps = scale(x_t - scale(x0, schedule.alpha(steps)), 1 / schedule.sigma(steps))
        x = scheduler.step(eps, t, x).prev_sample
    return x.to(z.dtype)
