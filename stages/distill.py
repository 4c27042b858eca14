"""Stage `distill`: from the teacher and its pairs to a one-step generator."""

from pathlib import Path

import torch

from dmd.runtime.files import whole_folder
from dmd.params.config import Config
from dmd.distill.loop import Distillation
from dmd.distill.distiller import Distiller
from dmd.datasets.pairs import PairStore
from dmd.features.perceptual import build_perceptual
from dmd.models.pipeline import save_generator
from dmd.models.teacher import Teacher
from dmd.runtime.work_folder import alone_in, finish, work_folder
from stages import live
from stages.command import cli


def prepare(config: Config) -> Distillation:
    """The run that the params describe, in its work folder."""
    data, models, settings = Path("data", config.system), Path("models", config.system), config.distill
    inputs = [models / "teacher", data / "pairs", data / "weights" / "perceptual"]
    params = config.model_dump(mode="json", include={"seed", "alpha", "guidance_scale", "dataset", "distill"})
    work = work_folder("distill", inputs, params)
    torch.manual_seed(config.seed)
    distiller = Distiller(
        Teacher.load(models / "teacher").denoiser,
        PairStore(data / "pairs"),
        build_perceptual(settings.perceptual.name, settings.perceptual.resolution, data / "weights" / "perceptual"),
        settings,
        regression_weight=config.alpha,
        guidance_scale=config.guidance_scale,
        num_classes=config.dataset.num_classes,
        seed=config.seed,
    )
    log = live.open_log(Path("dvclive", config.system)) if distiller.accelerator.is_main_process else None
    return Distillation(distiller, work, settings.steps, settings.history_epochs, settings.checkpoint_steps, log)


def main(config: Config) -> None:
    """Write the generator to models/<system>/generator and the training history to data/<system>/training."""
    run, models = prepare(config), Path("models", config.system)
    with alone_in(run.work):
        run.run()
        if run.distiller.accelerator.is_main_process:
            with whole_folder(Path("data", config.system, "training")) as out:
                run.save(out)
            scheduler_config = Teacher.load(models / "teacher").scheduler_config
            timestep, classes = config.distill.generator_timestep, config.dataset.num_classes
            save_generator(models / "generator", run.distiller.generator_backbone, scheduler_config, timestep, classes)
            finish(run.work)


if __name__ == "__main__":
    cli.run(main)
