"""Short trainings of a teacher, all for the same seconds, over a grid of `teacher.…` params; scored, and not kept.

    python -m tools.teacher_trials pipelines/cifar10-small/params.yaml trials.csv --seconds 180 \
        --axis 'teacher.backbone.block_out_channels=[16, 64, 128],[32, 64, 128]'

Each has as many updates as fit into the seconds, by the speed of its own first ones, so that its learning rate ends at
zero as a whole training's does. `unipc 10` without guidance draws for the scores.
"""

import itertools
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from dmd.commands.overrides import grid, override
from dmd.commands.table import print_rows, read_rows, write_rows
from dmd.commands.teacher_steps import Bench, Setting
from dmd.datasets.registry import load_dataset
from dmd.models.teacher import Teacher
from dmd.params.config import Config
from dmd.params.teacher import Training
from dmd.runtime.places import Places
from dmd.teacher.trainer import TeacherTrainer
from stages.command.cli import keep_freed_memory
from stages.teacher import fresh, train

SETTING = Setting(1.0, "unipc", 10, "trailing")

TIMED = 12
"""Updates that are timed, the first third of them thrown away."""


def recipe_of(config: Config) -> Training:
    """How the params train their teacher; a `ValueError` where they do not."""
    if config.teacher.training is None:
        raise ValueError(f"{config.file} has no section teacher.training")
    return config.teacher.training


def build_trainer(config: Config) -> tuple[Teacher, TeacherTrainer]:
    """A fresh teacher of pixels and what trains it, on the images that `fetch` left."""
    pixels, labels = load_dataset(config.dataset.name, Places(config.system).dataset, "train")
    teacher, known = fresh(config), labels if config.dataset.num_classes is not None else None
    return teacher, TeacherTrainer(teacher.denoiser, pixels, known, recipe_of(config), config.seed)


def updates_within(config: Config, seconds: float) -> int:
    """How many updates take about so long: by the median of a few, on fresh weights."""
    _, trainer = build_trainer(config)
    marks = [time.monotonic()]
    for step in range(TIMED):
        trainer.update(step)
        marks.append(time.monotonic())
    taken = [end - start for start, end in itertools.pairwise(marks)]
    return max(1, round(seconds / median(taken[TIMED // 3 :])))


def main(
    params: Annotated[Path, typer.Argument(help="The params file, from the repository's root.")],
    table: Annotated[Path, typer.Argument(help="CSV that gets a row for each trial, and keeps those it has.")],
    seconds: Annotated[float, typer.Option(help="Of each training, scores not counted.")],
    axis: Annotated[list[str], typer.Option(help="teacher.…=value,value…; given again, they make a grid.")],
    samples: Annotated[int, typer.Option(help="Samples that a trial is scored on.", min=2)] = 1000,
) -> None:
    """Train, score and write one row for each combination that the table lacks."""
    keep_freed_memory()
    rows = read_rows(table, "changes")
    for changes in grid(axis):
        name = ", ".join(f"{key.removeprefix('teacher.')} {value}" for key, value in changes.items())
        asked = {"changes": name, "asked_seconds": seconds, "num_samples": samples}
        if any(all(row[key] == value for key, value in asked.items()) for row in rows):
            continue
        config = override(params, changes)
        steps = updates_within(config, seconds)
        config = override(params, {**changes, "teacher.training.steps": steps})
        with TemporaryDirectory() as folder:
            start = time.monotonic()
            train(config, Path(folder, "teacher"))
            spent = time.monotonic() - start
            bench = Bench(config, Path(folder, "teacher"))
            scores = bench.row(SETTING, samples, 1)
        facts = {
            "parameters": sum(weights.numel() for weights in bench.teacher.backbone.parameters()),
            "images_seen": steps * recipe_of(config).batch_size,
            "seconds": spent,
        }
        rows.append({"changes": name, "asked_seconds": seconds, **facts, **scores})
        write_rows(table, rows)
    print_rows(rows)


if __name__ == "__main__":
    typer.run(main)
