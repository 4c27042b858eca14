"""Stage `distill`: from the teacher and its pairs to a one-step generator."""

from pathlib import Path

import torch

from dmd.datasets.pairs import PairStore
from dmd.datasets.registry import load_dataset
from dmd.distill.batches import RealImages
from dmd.distill.distiller import Distiller
from dmd.distill.loop import Distillation
from dmd.features.perceptual import build_perceptual
from dmd.models.pipeline import save_generator
from dmd.models.teacher import Teacher
from dmd.params.config import Config
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
    distiller = Distiller(
        Teacher.load(places.teacher).denoiser,
        PairStore(places.pairs),
        build_perceptual(settings.perceptual.name, settings.perceptual.resolution, places.weights("perceptual")),
        settings,
        regression_weight=config.alpha,
        guidance_scale=config.guidance_scale,
        num_classes=config.dataset.num_classes,
        seed=config.seed,
        real=real_images(config),
    )
    log = live.open_log(Path("dvclive", config.system)) if distiller.accelerator.is_main_process else None
    return Distillation(distiller, work, settings.steps, settings.history_epochs, settings.checkpoint_steps, log)


def real_images(config: Config) -> RealImages | None:
    """The training images, where a discriminator compares with them."""
    if config.distill.discriminator.kind is None:
        return None
    return RealImages(*load_dataset(config.dataset.name, Places(config.system).dataset, "train"))


def main(config: Config) -> None:
    """Write the generator to models/<system>/generator and the training history to data/<system>/training."""
    run, places = prepare(config), Places(config.system)
    with alone_in(run.work):
        run.run()
        if run.distiller.accelerator.is_main_process:
            with whole_folder(places.training) as out:
                run.save(out)
            scheduler_config = Teacher.load(places.teacher).scheduler_config
            timesteps, classes = config.distill.generator_timesteps, config.dataset.num_classes
            save_generator(places.generator, run.distiller.student.backbone, scheduler_config, timesteps, classes)
            finish(run.work)


if __name__ == "__main__":
    cli.run(main)
