"""Make the shipped teacher: what `teacher.source: train` runs, into assets/<system>/teacher with its provenance."""

import time
from pathlib import Path

import torch
from accelerate import PartialState

from dmd.params.config import Config
from stages.command import cli
from stages.teacher import train
from tools.ship_teacher import ship


def main(config: Config) -> None:
    """Train the teacher of a params file into assets/<system>/teacher: an hour or more; a killed run goes on."""
    staged, start = Path("models", config.system, "teacher-trained"), time.monotonic()
    train(config, staged)
    if PartialState().is_main_process:
        origin = {
            "command": f"python -m tools.train_teacher {config.file}",
            "seconds": round(time.monotonic() - start),
            "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
        }
        ship(config, staged, origin)


if __name__ == "__main__":
    cli.run(main)
