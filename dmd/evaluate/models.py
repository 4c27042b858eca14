"""The models that are compared, each a function from noises and labels to images on one device."""

import torch

from dmd.diffusion.guidance import with_guidance
from dmd.diffusion.sampler import sample
from dmd.models.teacher import Teacher
from dmd.params.sampling import Sampling
from dmd.types import Images, Labels, Model


def many_step_model(
    teacher: Teacher, settings: Sampling, guidance_scale: float, num_classes: int | None, device: torch.device
) -> Model:
    """The teacher's deterministic ODE with these steps and this guidance.

    Raises:
        ValueError: guidance is asked of a network that has no null class.
    """
    guided = with_guidance(teacher.denoiser, guidance_scale, num_classes).to(device)
    solver = settings.solver, settings.num_steps, settings.timestep_spacing

    def draw(z: Images, labels: Labels | None) -> Images:
        return sample(guided, z, labels, teacher.scheduler_config, *solver)

    return draw
