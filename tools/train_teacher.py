"""Make the shipped teacher: what `teacher.source: train` runs, into assets/<system>/teacher with its provenance."""

import shutil
from importlib.metadata import version
from pathlib import Path

from dmd.checkpoint import file_sha256, load_json, save_json
from dmd.config import Config
from stages import cli
from stages.teacher import train

WEIGHTS = "diffusion_pytorch_model.safetensors"


def main(config: Config) -> None:
    """Train the teacher of a params file into assets/<system>/teacher: an hour or more; a killed run goes on."""
    out = Path("assets", config.system, "teacher")
    staged = Path("models", config.system, "teacher-trained")
    train(config, config.teacher.schedule.model_dump(), staged)
    if not staged.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", WEIGHTS, "scheduler_config.json"):
        shutil.copyfile(staged / name, out / name)
    dataset = Path("data", config.system, "dataset")
    provenance = {
        "command": f"python -m tools.train_teacher {config.file}",
        "seed": config.seed,
        "params": config.teacher.model_dump(mode="json"),
        "dataset": {path.name: file_sha256(path) for path in sorted(dataset.iterdir())},
        "sha256": {WEIGHTS: file_sha256(out / WEIGHTS)},
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        **load_json(staged / "training.json"),
    }
    save_json(out / "provenance.json", provenance)


if __name__ == "__main__":
    cli.run(main)
