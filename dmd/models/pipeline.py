"""The generator on disk: a diffusers pipeline folder that draws in one step, with diffusers alone.

A table of betas that ends at t* makes `DDIMScheduler`'s one trailing step call the network at t* and, as no timestep is
left below, return its x0. So `DDIMPipeline` draws an unconditional `UNet2DModel` with `num_inference_steps=1`; a model
with classes brings `one_step.py`, and a network that diffusers does not have brings its own file in `unet/`. A network
with EDM's preconditioning is drawn by `ConsistencyModelPipeline`, with classes or without (`edm_pipeline.py`), one of
latents by `DiTPipeline`, `LDMPipeline` or `StableDiffusionPipeline` (`latent_pipelines.py`).
"""

import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, DiffusionPipeline, ModelMixin, UNet2DModel

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.prompts import Prompts
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models import one_step
from dmd.models.backbones import load_backbone, network_file
from dmd.models.drawn import check_drawn
from dmd.models.edm_pipeline import build_edm_pipeline, is_edm_scheduler, load_edm_generator
from dmd.models.karras import is_karras
from dmd.models.latent_pipelines import build_latent_pipeline, find_parts
from dmd.models.text import Text
from dmd.runtime.files import load_json, save_json, whole_folder
from dmd.runtime.handed import read_json

CODE_FILE = "one_step.py"

PARTS = ("unet", "scheduler", "model_index.json", CODE_FILE)
"""What `save_generator` writes of a generator of pixels."""


def save_generator(
    folder: Path,
    backbone: ModelMixin,
    scheduler_config: Mapping[str, Any],
    generator_timesteps: int | Sequence[int],
    num_classes: int | None = None,
    autoencoder: ModelMixin | None = None,
    image_shape: Sequence[int] | None = None,
    text: Text | None = None,
) -> None:
    """Write the pipeline folder: the network, the scheduler cut at t*, `model_index.json`; of pixels, `one_step.py`.

    Args:
        folder: replaced, whole or not at all.
        backbone: the student's network.
        scheduler_config: the config of the scheduler that the teacher was trained under.
        generator_timesteps: t*, 0 … T - 1; several for a generator of several calls, falling.
        num_classes: classes without the null class; None for an unconditional model.
        autoencoder: of a generator of latents.
        image_shape: channels, height and width that what was written must draw; None draws nothing.
        text: tokenizer and encoder of a generator that is told prompts.

    Raises:
        ValueError: t* is outside the schedule, no pipeline draws such a generator, or it draws another shape.
    """
    rest = scheduler_config, generator_timesteps, num_classes, autoencoder, text
    pipeline = build_pipeline(backbone, *rest)
    with whole_folder(folder) as part:
        pipeline.save_pretrained(part, safe_serialization=True)
        _add_code(part, pipeline, backbone)
        for path in part.glob("*/config.json"):
            config = load_json(path)
            config.pop("_name_or_path", None)
            save_json(path, config)
        if image_shape is not None:
            written = load_backbone(part / find_parts(part).network)
            check_drawn(build_pipeline(written, *rest), image_shape)


def _add_code(folder: Path, pipeline: DiffusionPipeline, backbone: ModelMixin) -> None:
    """Put what diffusers does not have beside the weights, and name it in `model_index.json`."""
    if find_parts(folder).codec is None:
        shutil.copyfile(Path(one_step.__file__), folder / CODE_FILE)
    index, code = load_json(folder / "model_index.json"), network_file(backbone)
    if isinstance(pipeline, one_step.OneStepPipeline):
        index["_class_name"] = ["one_step", "OneStepPipeline"]
    if code is not None:
        shutil.copyfile(code, folder / "unet" / code.name)
        index["unet"] = [code.stem, type(backbone).__name__]
    save_json(folder / "model_index.json", index)


def build_pipeline(
    backbone: ModelMixin,
    scheduler_config: Mapping[str, Any],
    generator_timesteps: int | Sequence[int],
    num_classes: int | None,
    autoencoder: ModelMixin | None = None,
    text: Text | None = None,
) -> DiffusionPipeline:
    """diffusers' own pipeline where it draws what the generator does, else `one_step.py`'s.

    Raises:
        ValueError: a timestep is outside the schedule, they do not fall, or no pipeline draws such a generator.
    """
    timesteps = [generator_timesteps] if isinstance(generator_timesteps, int) else list(generator_timesteps)
    if any(later >= earlier for earlier, later in pairwise(timesteps)):
        raise ValueError(f"generator_timesteps {timesteps} do not fall; sort them from noise to image")
    if is_karras(scheduler_config):
        return build_edm_pipeline(backbone, scheduler_config, timesteps)
    scheduler = one_step_scheduler(scheduler_config, timesteps[0])
    if autoencoder is not None:
        return build_latent_pipeline(backbone, autoencoder, scheduler, len(timesteps), text)
    if num_classes is None and len(timesteps) == 1 and isinstance(backbone, UNet2DModel):
        return DDIMPipeline(backbone, scheduler)
    return one_step.OneStepPipeline(backbone, scheduler, num_classes, timesteps[1:] or None)


def one_step_scheduler(scheduler_config: Mapping[str, Any], generator_timestep: int) -> DDIMScheduler:
    """A DDIM scheduler of timesteps 0 … t*, whose one step returns x0 (Song et al. 2021, eq. 12, alpha_{t-1} = 1).

    Raises:
        ValueError: t* is outside the schedule.
    """
    trained = DDPMScheduler.from_config(dict(scheduler_config))
    total = len(trained.betas)
    if not 0 <= generator_timestep < total:
        raise ValueError(f"generator_timestep {generator_timestep} is outside the schedule: 0 … {total - 1}")
    return DDIMScheduler(
        num_train_timesteps=generator_timestep + 1,
        trained_betas=trained.betas[: generator_timestep + 1].tolist(),
        prediction_type=trained.config.prediction_type,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )


def load_generator(folder: Path, prompts: Prompts | None = None) -> Generator:
    """The generator of a folder that `save_generator` wrote; reads the network, `scheduler/` and `model_index.json`.

    One of latents gives latents, which the teacher's codec decodes. `prompts` are what labels mean to one that is told
    prompts.
    """
    if is_edm_scheduler(folder / "scheduler"):
        return load_edm_generator(folder)
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    schedule = NoiseSchedule.from_scheduler(scheduler)
    backbone, prediction = load_backbone(folder / find_parts(folder).network), scheduler.config.prediction_type
    denoiser = Denoiser(backbone, schedule, prediction, prompts=prompts)
    later = read_json(folder / "model_index.json").get("later_timesteps") or []
    return Generator(denoiser, [schedule.num_timesteps - 1, *later])
