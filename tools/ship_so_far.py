"""Ship what a training has so far: the averaged weights of one of its checkpoints, with how far it had come.

    python -m tools.ship_so_far pipelines/cifar10-small/params.yaml .work/teacher/<…>/step-00004000

The training may be running, or stopped for good. What it ends with ships by `tools.ship_teacher`.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from torch.nn.modules.batchnorm import _BatchNorm

from dmd.params.config import Config, load_config
from dmd.runtime.files import save_json
from stages.command.cli import keep_freed_memory
from stages.teacher import keep, summary
from tools.ship_teacher import ship
from tools.teacher_trials import build_trainer, recipe_of


def place_average(config: Config, checkpoint: Path, out: Path) -> int:
    """Write the averaged weights of a checkpoint as the stage `teacher` writes a teacher; returns its step.

    Raises:
        ValueError: the params do not train their teacher, it has BatchNorm, or the checkpoint is broken.
    """
    if config.teacher.source != "train":
        raise ValueError(f"{config.file}: teacher.source is {config.teacher.source}, and nothing is trained; set train")
    teacher, trainer = build_trainer(config)
    if any(isinstance(module, _BatchNorm) for module in teacher.backbone.modules()):
        raise ValueError(f"{config.file}: BatchNorm's statistics are estimated when a training ends; let it end")
    with TemporaryDirectory() as folder:  # this checkpoint alone, whatever the training writes beside it
        shutil.copytree(checkpoint, Path(folder, checkpoint.name))
        step, losses = trainer.state.resume(Path(folder))
    if not step:
        raise ValueError(f"{checkpoint} is no whole checkpoint; name a folder step-… of .work/teacher")
    trainer.average.copy_to(trainer.backbone.parameters())
    keep(teacher, out, {"source": "train", "seed": config.seed})
    save_json(out / "training.json", summary(losses))
    return step


def main(
    params: Annotated[Path, typer.Argument(help="The params file of the training, from the repository's root.")],
    checkpoint: Annotated[Path, typer.Argument(help="A folder step-… of the training's folder in .work/teacher.")],
) -> None:
    """Write assets/<system>/teacher from a checkpoint, with its scores and its provenance: minutes, for scores."""
    keep_freed_memory()
    config = load_config(params)
    with TemporaryDirectory() as folder:
        staged = Path(folder, "teacher")
        place_average(config, checkpoint, staged)
        command = f"python -m tools.ship_so_far {params} …/{checkpoint.name}, of {recipe_of(config).steps} updates"
        ship(config, staged, {"command": command, "seconds": None, "device": None}, num_sets=1)


if __name__ == "__main__":
    typer.run(main)
