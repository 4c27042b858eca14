"""Tiny systems to be killed, and the harness that kills their stages and compares what they leave."""

import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dmd.commands.overrides import override
from dmd.models.teacher import Teacher
from dmd.runtime.files import file_sha256, folder_sha256, load_json, save_json
from dmd.teacher.network import build_unet

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "mnist-small"
PATIENCE = 600
"""Seconds that one victim may take."""

TINY: dict[str, Any] = {
    "dataset.image_shape": [1, 8, 8],
    "pairs.count": 22,
    "pairs.shard_size": 8,
    "pairs.batch_size": 4,
    "pairs.num_steps": 3,
    "distill.steps": 10,
    "distill.batch_size": 4,
    "distill.pairs_batch_size": 4,
    "distill.warmup_steps": 2,
    "distill.perceptual.resolution": 8,
    "distill.history_epochs": 3,
    "distill.checkpoint_steps": 2,
}
SCORED = {key: TINY[key] for key in TINY if key not in ("dataset.image_shape", "distill.perceptual.resolution")}
TRAINED: dict[str, Any] = {
    "teacher.source": "train",
    "teacher.backbone.block_out_channels": [4, 8],
    "teacher.backbone.attention_resolutions": [],
    "teacher.backbone.norm_num_groups": 2,
    "teacher.training.steps": 10,
    "teacher.training.batch_size": 4,
    "teacher.training.warmup_steps": 2,
    "teacher.training.checkpoint_steps": 2,
}


def write_params(folder: Path, changes: dict[str, Any]) -> None:
    """`folder/params.yaml`: the root's params with these changes."""
    folder.mkdir(parents=True, exist_ok=True)
    params = override(ROOT / "params.yaml", changes).model_dump(mode="json", exclude_none=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def make_system(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """The params of a tiny system, with an untrained teacher, no images and no weights for its distance."""
    write_params(folder, TINY | (changes or {}))
    torch.manual_seed(0)
    schedule = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["teacher"]["schedule"]
    network = build_unet((1, 8, 8), 11, (4, 8), 1, (), 2)
    Teacher(network, {**schedule, "clip_sample": False}).save(folder / "models" / SYSTEM / "teacher")
    for name in ("weights/perceptual", "dataset"):
        (folder / "data" / SYSTEM / name).mkdir(parents=True)


def make_images(folder: Path) -> None:
    """The params of a system whose teacher is trained, with 64 images in MNIST's format."""
    write_params(folder, TRAINED)
    data = folder / "data" / SYSTEM / "dataset"
    data.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
    header = np.array([0x803, *pixels.shape], ">u4").tobytes()
    (data / "train-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    header = np.array([0x801, 64], ">u4").tobytes()
    (data / "train-labels-idx1-ubyte").write_bytes(header + bytes(range(10)) * 6 + bytes(4))


def add_evaluation(folder: Path) -> None:
    """Beside the training images of a system, test images and the feature net that scores them."""
    data = folder / "data" / SYSTEM
    for name in ("images-idx3", "labels-idx1"):
        shutil.copy(data / "dataset" / f"train-{name}-ubyte", data / "dataset" / f"t10k-{name}-ubyte")
    shutil.copytree(ROOT / "assets" / "lenet", data / "weights" / "features")


def make_scored_system(folder: Path, changes: dict[str, Any]) -> None:
    """A tiny system with all that its stages read up to the evaluation, at the size of MNIST's images."""
    make_images(folder)
    write_params(folder, SCORED | changes)
    add_evaluation(folder)
    torch.manual_seed(0)
    schedule = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["teacher"]["schedule"]
    teacher = folder / "models" / SYSTEM / "teacher"
    Teacher(build_unet((1, 28, 28), 11, (4, 8), 1, (), 2), {**schedule, "clip_sample": False}).save(teacher)
    save_json(teacher / "provenance.json", {"source": "a test"})
    (folder / "data" / SYSTEM / "weights" / "perceptual").mkdir()


def outputs(folder: Path) -> dict[str, str]:
    """A hash of everything that a stage leaves, but for measured times; of a training also its last checkpoint.

    The checkpoint has weights, optimisers, learning rates, averages, position and the loss of every step.
    """
    found = {}
    for path in (folder / "data" / SYSTEM / "pairs", *(folder / "models" / SYSTEM).iterdir()):
        if path.is_dir():
            found[path.name] = folder_sha256(path)
    for path in (folder / "data" / SYSTEM).glob("training/*"):
        if path.name != "speed.json":
            found[path.name] = file_sha256(path)
    if (folder / "last").is_dir():
        state = load_json(folder / "last" / "state.json")
        if isinstance(state["record"], dict):
            del state["record"]["seconds"]
        found["numbers"] = repr(state)
        found["tensors"] = file_sha256(folder / "last" / "state.safetensors")
    return found


class Victims:
    """The processes that are killed."""

    def __init__(self) -> None:
        """Start the server."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        environment.pop("DMD_WORK", None)
        self.server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._line() == "ready"

    def close(self) -> None:
        """End the server."""
        self.server.communicate()

    def run(self, stage: str, folder: Path, kill_after: float | None = None) -> bool:
        """Run a stage in `folder`; whether SIGKILL came before its end, `kill_after` seconds from its start."""
        (process,) = self.start(stage, folder)
        if kill_after is not None and not select.select([self.server.stdout], [], [], kill_after)[0]:
            os.kill(process, signal.SIGKILL)
        (status,) = self.wait()
        assert status in (0, -signal.SIGKILL), (folder / "log").read_text(encoding="utf-8")[-3000:]
        return status != 0

    def start(self, stage: str, folder: Path, processes: int = 1) -> list[int]:
        """Start a stage in `folder`, in one process or a group; their ids, by rank."""
        assert self.server.stdin is not None
        self.server.stdin.write(f"{stage} {processes} {folder}\n")
        return [int(number) for number in self._line().split()]

    def wait(self) -> list[int]:
        """Wait for all processes that were started; their exit statuses, by rank."""
        return [int(number) for number in self._line().split()]

    def _line(self) -> str:
        assert self.server.stdout is not None
        if not select.select([self.server.stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"no answer from a victim in {PATIENCE} s")
        return self.server.stdout.readline().strip()


class Hunt:
    """One stage of one system, run without a kill once, and then killed and resumed as often as wanted."""

    def __init__(self, victims: Victims, stage: str, system: Path, scratch: Path) -> None:
        """Run the stage in a copy of `system`, for what it leaves and how long it takes."""
        self.victims, self.stage, self.system, self.scratch = victims, stage, system, scratch
        whole = scratch / "whole"
        shutil.copytree(system, whole)
        began = time.monotonic()
        assert not victims.run(stage, whole)
        self.seconds = time.monotonic() - began
        self.expected = outputs(whole)

    def kill(self, times: int, seed: int) -> tuple[int, bool]:
        """Kill up to `times` processes of one run at random moments, then let it end.

        Returns the number of kills, and whether everything it left is what the run without a kill left.
        """
        rng, folder, kills = random.Random(seed), self.scratch / f"run-{seed}", 0
        shutil.copytree(self.system, folder)
        for _ in range(times):
            if not self.victims.run(self.stage, folder, rng.uniform(0, self.seconds)):
                break
            kills += 1
        else:
            self.victims.run(self.stage, folder)
        identical = outputs(folder) == self.expected
        if identical:
            shutil.rmtree(folder)
        return kills, identical
