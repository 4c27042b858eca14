"""Stage `distill`: from the teacher and its pairs to a one-step generator."""

from pathlib import Path

import torch
from torch import nn

from dmd.datasets.pairs import PairStore
from dmd.datasets.registry import load_dataset
from dmd.distill.batches import RealImages
from dmd.distill.distiller import Distiller
from dmd.distill.loop import Distillation
from dmd.features.perceptual import build_perceptual
from dmd.models.codec import Codec
from dmd.models.lora import FOLDER, Adapted, check_adapted, save_adapter
from dmd.models.pipeline import save_generator
from dmd.models.teacher import Teacher
from dmd.models.text import check_installed, load_text
from dmd.params.config import Config
from dmd.params.perceptual import Perceptual
from dmd.runtime.files import whole_folder
from dmd.runtime.places import Places
from dmd.runtime.work_folder import alone_in, finish, work_folder
from stages import live
from stages.command import cli


def prepare(config: Config) -> Distillation:
    """The run that the params describe, in its work folder."""
    places, settings = Places(config.system), config.distill
    inputs = [places.teacher, places.pairs, places.weights("perceptual"), places.dataset]
    params = config.model_dump(mode="json", include={"seed", "alpha", "guidance_scale", "dataset", "distill"})
    work = work_folder("distill", inputs, params)
    torch.manual_seed(config.seed)
    teacher = Teacher.load(places.teacher)
    codec = teacher.codec(config.dataset.image_shape)
    if teacher.autoencoder is not None:
        config.check_latents()
    if teacher.text_folder is not None:
        check_installed()
    if settings.lora is not None:
        check_adapted(type(teacher.backbone).__name__)
    distiller = Distiller(
        teacher.denoiser,
        PairStore(places.pairs),
        regression_distance(settings.perceptual, codec, places.weights("perceptual")),
        settings,
        regression_weight=config.alpha,
        guidance_scale=config.guidance_scale,
        num_classes=teacher.num_labels(config.dataset.num_classes),
        seed=config.seed,
        real=real_images(config),
    )
    epochs, every = settings.history_epochs, settings.checkpoint_steps
    return Distillation(distiller, codec, work, settings.steps, epochs, every)


def regression_distance(settings: Perceptual, codec: Codec, weights: Path) -> nn.Module:
    """The distance of the regression: of decoded images, or of latents at their own size."""
    if settings.space == "latents":
        return build_perceptual(settings.name, codec.latent_shape[1], weights)
    return codec.comparing(build_perceptual(settings.name, settings.resolution, weights))


def real_images(config: Config) -> RealImages | None:
    """The training images, where a discriminator compares with them."""
    if config.distill.discriminator.kind is None:
        return None
    return RealImages(*load_dataset(config.dataset.name, Places(config.system).dataset, "train"))


def main(config: Config) -> None:
    """Write the generator to models/<system>/generator and the training history to data/<system>/training."""
    run, places = prepare(config), Places(config.system)
    if run.distiller.accelerator.is_main_process:
        run.live = live.open_log(Path("dvclive", config.system))
    with alone_in(run.work):
        run.run()
        if run.distiller.accelerator.is_main_process:
            with whole_folder(places.training) as out:
                run.save(out)
            teacher, timesteps = Teacher.load(places.teacher), config.distill.generator_timesteps
            trained = run.distiller.student.backbone
            save_generator(
                places.generator,
                trained.fused() if isinstance(trained, Adapted) else trained,
                teacher.scheduler_config,
                timesteps,
                config.dataset.num_classes,
                teacher.autoencoder,
                run.codec.decoded_shape,
                None if teacher.text_folder is None else load_text(teacher.text_folder),
            )
            if isinstance(trained, Adapted):
                save_adapter(places.generator / FOLDER, trained)
            finish(run.work)


if __name__ == "__main__":
    cli.run(main)
