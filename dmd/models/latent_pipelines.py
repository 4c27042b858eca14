"""A one-step generator of latents on disk: a stock pipeline of diffusers, which no code of this project travels with.

With classes that is a `DiTPipeline`, without an `LDMPipeline`, of prompts a `StableDiffusionPipeline`. All draw latents
by the scheduler that ends at t*, in one step, and give `D(z / scaling_factor)`: with `num_inference_steps=1`, and the
first with `guidance_scale=1`, the last with `guidance_scale=0`.
"""

from pathlib import Path
from typing import NamedTuple

from diffusers import DDIMScheduler, DiffusionPipeline, DiTPipeline, LDMPipeline, ModelMixin

from dmd.models.text import PARTS, Text
from dmd.runtime.handed import read_json


class Parts(NamedTuple):
    """Folders of a pipeline beside its `scheduler/`."""

    network: str
    codec: str | None = None
    text: tuple[str, ...] = ()


LATENT_PIPELINES = {
    "DiTPipeline": Parts("transformer", "vae"),
    "LDMPipeline": Parts("unet", "vqvae"),
    "StableDiffusionPipeline": Parts("unet", "vae", PARTS),
}
"""Of pipelines of latents, by class name; the others have a `unet/` and no codec."""


def parts_of(class_name: object) -> Parts:
    """The parts of a pipeline by the `_class_name` in its `model_index.json`."""
    known = LATENT_PIPELINES.get(class_name) if isinstance(class_name, str) else None
    return known or Parts("unet")


def find_parts(folder: Path) -> Parts:
    """The parts of the pipeline in a folder."""
    return parts_of(read_json(folder / "model_index.json").get("_class_name"))


def refuse_latents(folder: Path) -> None:
    """For what draws by a network alone.

    Raises:
        ValueError: the pipeline in the folder makes latents, which want decoding.
    """
    if find_parts(folder).codec is not None:
        raise ValueError(f"{folder}: its network makes latents, which this cannot decode; draw with its own pipeline")


def build_latent_pipeline(
    backbone: ModelMixin,
    autoencoder: ModelMixin,
    scheduler: DDIMScheduler,
    num_timesteps: int,
    text: Text | None = None,
) -> DiffusionPipeline:
    """The pipeline of a generator that calls `backbone` once, at the last timestep of `scheduler`.

    `text` is of a generator that is told prompts.

    Raises:
        ValueError: the generator has several timesteps, or the codec a shift: both are what these pipelines have not.
    """
    if num_timesteps != 1:
        raise ValueError(
            f"distill.generator_timesteps has {num_timesteps}: a generator of latents is saved as a pipeline of one "
            "step; give one timestep"
        )
    if autoencoder.config.get("shift_factor"):
        raise ValueError(
            f"the codec's config.json: shift_factor is {autoencoder.config.shift_factor}, which diffusers' pipelines "
            "leave out; set teacher.source to a teacher without it"
        )
    if text is not None:
        return _text_pipeline(backbone, autoencoder, scheduler, text)
    if type(backbone).__name__ == "DiTTransformer2DModel":
        if backbone.config.out_channels is None:  # as many as come in; `DiTPipeline` reads the number
            backbone.register_to_config(out_channels=backbone.config.in_channels)
        return DiTPipeline(backbone, autoencoder, scheduler)
    return LDMPipeline(autoencoder, backbone, scheduler)


def _text_pipeline(
    backbone: ModelMixin, autoencoder: ModelMixin, scheduler: DDIMScheduler, text: Text
) -> DiffusionPipeline:
    """Without a safety checker, whose network would have to travel too; of one step, no offset is ever used."""
    from diffusers import StableDiffusionPipeline  # slow to import, and not there without the extra `text`

    parts = {
        "vae": autoencoder,
        "unet": backbone,
        "scheduler": DDIMScheduler.from_config(scheduler.config, steps_offset=1),
    }
    words = {"tokenizer": text.tokenizer, "text_encoder": text.encoder}
    without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(**parts, **words, **without)
