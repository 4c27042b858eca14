"""Make the shipped teacher: what `teacher.source: train` runs, into assets/<system>/teacher with its provenance."""

import shutil
from importlib.metadata import version
from pathlib import Path

from accelerate import PartialState

from dmd.commands.arguments import SETS
from dmd.commands.teacher_steps import Bench, Setting
from dmd.params.config import Config
from dmd.runtime.files import file_sha256, load_json, save_json
from stages.command import cli
from stages.teacher import train

WEIGHTS = "diffusion_pytorch_model.safetensors"
SAMPLES = 2000


def ship(config: Config, staged: Path) -> None:
    """Copy a trained teacher to assets/<system>/teacher and write where it comes from and how well it draws."""
    out, dataset = Path("assets", config.system, "teacher"), Path("data", config.system, "dataset")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", WEIGHTS, "scheduler_config.json"):
        shutil.copyfile(staged / name, out / name)
    settings = config.evaluate.solver, config.evaluate.num_steps, config.evaluate.timestep_spacing
    setting = Setting(config.guidance_scale, *settings)
    scores = Bench(config, out).row(setting, SAMPLES, SETS)
    provenance = {
        "command": f"python -m tools.train_teacher {config.file}",
        "seed": config.seed,
        "params": config.teacher.model_dump(mode="json"),
        "dataset_sha256": {path.name: file_sha256(path) for path in sorted(dataset.iterdir())},
        "sha256": file_sha256(out / WEIGHTS),
        "scores": {name: value for name, value in scores.items() if not name.startswith("seconds")},
        "sampler": setting._asdict(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        **load_json(staged / "training.json"),
    }
    save_json(out / "provenance.json", provenance)


def main(config: Config) -> None:
    """Train the teacher of a params file into assets/<system>/teacher: an hour or more; a killed run goes on."""
    staged = Path("models", config.system, "teacher-trained")
    train(config, staged)
    if PartialState().is_main_process:
        ship(config, staged)


if __name__ == "__main__":
    cli.run(main)
