"""What a generator's pipeline draws, held to the params: one image, before its folder is put in place."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline

ONE_IMAGE: dict[str, dict[str, Any]] = {
    "DiTPipeline": {"class_labels": [0], "guidance_scale": 1.0, "num_inference_steps": 1},
    "OneStepPipeline": {"batch_size": 1},
    "StableDiffusionPipeline": {"prompt": "", "guidance_scale": 0.0, "num_inference_steps": 1},
}
"""How pipelines are asked for one image, by class name; those not named take `ONE_STEP`."""

ONE_STEP = {"batch_size": 1, "num_inference_steps": 1}


def check_drawn(pipeline: DiffusionPipeline, image_shape: Sequence[int]) -> None:
    """Draw one image and compare its channels, height and width with `image_shape`.

    Raises:
        ValueError: they differ; names both.
    """
    pipeline.set_progress_bar_config(disable=True)
    asked = ONE_IMAGE.get(type(pipeline).__name__, ONE_STEP)
    images = pipeline(**asked, generator=torch.Generator().manual_seed(0), output_type="np").images
    (height, width, channels), wanted = images.shape[1:], list(image_shape)
    if [channels, height, width] != wanted:
        raise ValueError(
            f"the generator's pipeline draws images of {[channels, height, width]}, but dataset.image_shape "
            f"needs {wanted}: the teacher's config.json says another size than it was distilled at; run the stage "
            "`teacher` again with params that agree, then `distill`"
        )
