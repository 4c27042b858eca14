"""Classifier-free guidance: a denoiser that wraps another."""

import torch

from dmd.diffusion.calls import class_embeds
from dmd.diffusion.denoiser import BaseDenoiser, Denoiser
from dmd.diffusion.prompts import Prompts
from dmd.types import Images, Labels, Timesteps


class GuidedDenoiser(BaseDenoiser):
    """Classifier-free guidance (Ho & Salimans 2022): `x0 = x0_uncond + s (x0_cond - x0_uncond)`; s = 1 is none."""

    def __init__(self, denoiser: BaseDenoiser, guidance_scale: float, null_label: int) -> None:
        """Wrap `denoiser`; `null_label` is the class index that means no label, or the row of the null prompt."""
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.guidance_scale = guidance_scale
        self.null_label = null_label

    def forward(self, x_t: Images, t: Timesteps, labels: Labels) -> Images:
        """Both halves in one network call of twice the batch; one plain call when the scale is 1."""
        if self.guidance_scale == 1.0:
            return self.denoiser(x_t, t, labels)
        both = torch.cat([labels, torch.full_like(labels, self.null_label)])
        cond, uncond = self.denoiser(torch.cat([x_t, x_t]), torch.cat([t, t]), both).chunk(2)
        return uncond + self.guidance_scale * (cond - uncond)


def with_guidance(denoiser: Denoiser, guidance_scale: float, num_classes: int | None) -> BaseDenoiser:
    """The denoiser itself where guidance is off (1.0), else wrapped; the null class, or prompt, is index `num_classes`.

    Raises:
        ValueError: guidance is asked of a network that has no null class, or of prompts without a null prompt.
    """
    if guidance_scale != 1.0 and denoiser.prompts is not None:
        check_null_prompt(guidance_scale, denoiser.prompts)
    elif guidance_scale != 1.0:
        check_null_class(guidance_scale, class_embeds(denoiser.backbone.config), num_classes)
    null = num_classes if denoiser.prompts is None else denoiser.prompts.count
    if guidance_scale == 1.0 or null is None:
        return denoiser
    return GuidedDenoiser(denoiser, guidance_scale, null)


def check_null_class(guidance_scale: float, num_class_embeds: int | None, num_classes: int | None) -> None:
    """Hold guidance against the network's class embeddings, of which the one on top of the classes means none.

    Raises:
        ValueError: guidance is asked of a network that has no null class.
    """
    if guidance_scale != 1.0 and (num_classes is None or num_class_embeds != num_classes + 1):
        raise ValueError(
            f"guidance_scale {guidance_scale} needs a null class, but the teacher has {num_class_embeds} class "
            f"embeddings for {num_classes} classes; set guidance_scale to 1.0"
        )


def check_null_prompt(guidance_scale: float, prompts: Prompts) -> None:
    """Hold guidance against encoded prompts.

    Raises:
        ValueError: guidance is asked for, and there is no null prompt among them.
    """
    if guidance_scale != 1.0 and prompts.null is None:
        raise ValueError(
            f"guidance_scale {guidance_scale} needs the null prompt, which the teacher's prompts lack; run the stage "
            "`teacher` again, or set guidance_scale to 1.0"
        )
