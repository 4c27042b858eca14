"""Make the shipped teacher: what `teacher.source: train` runs, into assets/<system>/teacher with its provenance."""

import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from diffusers import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from dmd.commands.arguments import SETS
from dmd.commands.teacher_steps import Bench, Setting
from dmd.models.backbones import load_backbone
from dmd.params.config import Config
from dmd.runtime.files import file_sha256, load_json, save_json
from stages.command import cli
from stages.teacher import train

SAMPLES = 2000

LARGEST = 12_000_000
"""Bytes of a file that git should keep: larger weights are halved, and in parts where that is not enough."""

PART = 11_000_000
"""Bytes of tensors in a part."""


def place_weights(staged: Path, out: Path) -> None:
    """Write a trained network as it is shipped: as it is, or where that is too large with parameters in float16."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    size = (staged / SAFETENSORS_WEIGHTS_NAME).stat().st_size
    if size > LARGEST:
        halved(load_backbone(staged)).save_pretrained(out, max_shard_size=LARGEST if size <= 2 * LARGEST else PART)
    else:
        shutil.copyfile(staged / SAFETENSORS_WEIGHTS_NAME, out / SAFETENSORS_WEIGHTS_NAME)
    for name in ("config.json", "scheduler_config.json"):
        shutil.copyfile(staged / name, out / name)


def halved(backbone: ModelMixin) -> ModelMixin:
    """Parameters in float16, in place; buffers, such as tables and BatchNorm's statistics, stay as they are."""
    for weights in backbone.parameters():
        weights.data = weights.data.half()
    return backbone


def hashes(folder: Path) -> dict[str, Any]:
    """`sha256` of the weights, or of each part by its name where there are several."""
    found = {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    return {"sha256": found[SAFETENSORS_WEIGHTS_NAME]} if len(found) == 1 else {"sha256_of_parts": found}


def ship(config: Config, staged: Path, seconds: float) -> None:
    """Copy a trained teacher to assets/<system>/teacher and write where it comes from and how well it draws."""
    out, dataset = Path("assets", config.system, "teacher"), Path("data", config.system, "dataset")
    place_weights(staged, out)
    settings = config.evaluate.solver, config.evaluate.num_steps, config.evaluate.timestep_spacing
    setting = Setting(config.guidance_scale, *settings)
    scores = Bench(config, out).row(setting, SAMPLES, SETS)
    training = load_json(staged / "training.json")
    recipe = config.teacher.training
    provenance = {
        "command": f"python -m tools.train_teacher {config.file}",
        "seed": config.seed,
        "params": config.teacher.model_dump(mode="json"),
        "images_seen": training["steps"] * recipe.batch_size if recipe else None,
        "seconds": round(seconds),
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        "dataset_sha256": {path.name: file_sha256(path) for path in sorted(dataset.iterdir())},
        "scores": {name: value for name, value in scores.items() if not name.startswith("seconds")},
        "sampler": setting._asdict(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        **hashes(out),
        **training,
    }
    save_json(out / "provenance.json", provenance)


def main(config: Config) -> None:
    """Train the teacher of a params file into assets/<system>/teacher: an hour or more; a killed run goes on."""
    staged, start = Path("models", config.system, "teacher-trained"), time.monotonic()
    train(config, staged)
    if PartialState().is_main_process:
        ship(config, staged, time.monotonic() - start)


if __name__ == "__main__":
    cli.run(main)
