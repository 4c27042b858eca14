"""Stage `distill`: from the teacher and its pairs to a one-step generator."""

from pathlib import Path

import torch

from dmd.config import Config
from dmd.distillation import Distillation
from dmd.distiller import Distiller, DistillSettings
from dmd.pairs import PairStore
from dmd.perceptual import build_perceptual
from dmd.pipeline import save_generator
from dmd.teacher import Teacher
from dmd.work import finish, work_folder
from stages import cli


def main(config: Config) -> None:
    """Write the generator to models/<system>/generator and the training history to data/<system>/training."""
    data, models, settings = Path("data", config.system), Path("models", config.system), config.distill
    inputs = [models / "teacher", data / "pairs", data / "weights" / "perceptual"]
    params = config.model_dump(mode="json", include={"seed", "alpha", "guidance_scale", "dataset", "distill"})
    work = work_folder("distill", inputs, params)
    torch.manual_seed(config.seed)
    teacher = Teacher.load(models / "teacher")
    distiller = Distiller(
        teacher.denoiser,
        PairStore(data / "pairs"),
        build_perceptual(settings.perceptual.name, settings.perceptual.resolution, data / "weights" / "perceptual"),
        DistillSettings(
            regression_weight=config.alpha,
            guidance_scale=config.guidance_scale,
            **settings.model_dump(exclude={"perceptual", "history_epochs", "checkpoint_steps"}),
        ),
        config.dataset.num_classes,
        config.seed,
    )
    run = Distillation(distiller, work, settings.steps, settings.history_epochs, settings.checkpoint_steps)
    run.run()
    if distiller.accelerator.is_main_process:
        run.save(data / "training")
        save_generator(
            models / "generator",
            distiller.generator_backbone,
            teacher.scheduler_config,
            settings.generator_timestep,
            config.dataset.num_classes,
        )
        finish(work)


if __name__ == "__main__":
    cli.run(main)
