"""What people would run instead: diffusers' pipelines on the same weights, labels and guidance."""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from benchmarks.shipped import Shipped

Draw = Callable[[], Any]
"""Draws one batch."""


class GuidedUNet(UNet2DModel):
    """The network with its labels and guidance inside, since these pipelines pass neither; one call of twice the batch.

    The combination is that of `dmd.diffusion.guidance.GuidedDenoiser`, of predicted noises: x0 is linear in them.
    """

    labels: Tensor
    guidance_scale: float

    def forward(self, sample: Tensor, timestep: Any, **_: Any) -> UNet2DOutput:
        """The guided prediction."""
        if self.guidance_scale == 1.0:
            return super().forward(sample, timestep, class_labels=self.labels)
        null = torch.full_like(self.labels, self.config.num_class_embeds - 1)
        both = super().forward(torch.cat([sample, sample]), timestep, class_labels=torch.cat([self.labels, null]))
        cond, uncond = both.sample.chunk(2)
        return UNet2DOutput(sample=uncond + self.guidance_scale * (cond - uncond))


def guided_unet(shipped: Shipped, count: int, guidance_scale: float) -> UNet2DModel:
    """The system's weights for batches of `count`, the classes in turn."""
    if shipped.classes is None:
        return shipped.teacher.backbone.eval()
    unet = GuidedUNet.from_pretrained(shipped.folder, use_safetensors=True, low_cpu_mem_usage=False).eval()
    unet.labels, unet.guidance_scale = shipped.labels(count), guidance_scale
    return unet


def ddim(shipped: Shipped, count: int, num_steps: int) -> Draw:
    """`DDIMPipeline`: `count` images in [0, 1], [N, H, W, C], from the noise that seed 0 gives."""
    config = {**shipped.teacher.scheduler_config, "timestep_spacing": "trailing"}
    pipeline = DDIMPipeline(guided_unet(shipped, count, shipped.config.guidance_scale), DDIMScheduler(**config))
    return _quiet(pipeline, count, num_steps)


def ancestral(shipped: Shipped, count: int, num_steps: int) -> Draw:
    """`DDPMPipeline`: ancestral sampling (Ho et al. 2020, algorithm 2) in `num_steps` steps."""
    scheduler = DDPMScheduler(**dict(shipped.teacher.scheduler_config))
    pipeline = DDPMPipeline(guided_unet(shipped, count, shipped.config.guidance_scale), scheduler)
    return _quiet(pipeline, count, num_steps)


def _quiet(pipeline: Any, count: int, num_steps: int) -> Draw:
    pipeline.set_progress_bar_config(disable=True)

    def draw() -> Any:
        noise = torch.Generator().manual_seed(0)
        return pipeline(count, generator=noise, num_inference_steps=num_steps, output_type="np").images

    return draw
