"""Several processes leave what one leaves; when one is killed the others say so and end, and a rerun goes on."""

import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from dmd.datasets.pairs import PairStore
from dmd.runtime.files import folder_sha256, load_tensors
from tests.survival.beyond_pixels import KINDS, stages_before
from tests.survival.figures import keep
from tests.survival.victims import SYSTEM, TINY, Victims, write_params

TOLERANCE = 1e-5
CHANGES = {"pairs.count": 18, "distill.steps": 2, "distill.history_epochs": 1, "distill.batch_size": 8}
CHANGES |= {"distill.pairs_batch_size": 8, "distill.warmup_steps": 1, "distill.learning_rate_generator": 1e-4}
PAIRS = Path("data", SYSTEM, "pairs")


def run_alone(victims: Victims, kind: str, folder: Path) -> Path:
    """A system of this kind with what one process leaves of its stages."""
    KINDS[kind](folder, CHANGES)
    for stage in (*stages_before("pairs", folder), "pairs", "distill", "summarise"):
        victims.run(stage, folder)
    return folder


@pytest.fixture(scope="module")
def alone(victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves of a system of pixels."""
    return run_alone(victims, "pixels", tmp_path_factory.mktemp("one") / "system")


def run_group(victims: Victims, alone: Path, folder: Path, processes: int) -> None:
    """All stages in a group, on the inputs of `alone`; the distillation on its very pairs."""
    for name in ("params.yaml", f"models/{SYSTEM}/teacher", f"data/{SYSTEM}/weights", f"data/{SYSTEM}/dataset"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (alone / name).is_dir() else shutil.copy)(alone / name, folder / name)
    for stage in ("pairs", "distill", "summarise"):
        victims.start(stage, folder, processes)
        assert victims.wait() == [0] * processes, (folder / "log").read_text(encoding="utf-8")[-3000:]


def differences(alone: Path, folder: Path) -> tuple[bool, float]:
    """Whether the noises are the same bit for bit, and the largest difference of any image."""
    one, other = (PairStore(path / "data" / SYSTEM / "pairs").read(range(18)) for path in (alone, folder))
    noises = all(torch.equal(one[name], other[name]) for name in ("z", "label", "index"))
    largest = (one["x0"] - other["x0"]).abs().max().item()
    history = [load_tensors(path / "data" / SYSTEM / "training" / "history.safetensors") for path in (alone, folder)]
    images = "images_step_00002"
    return noises, max(largest, (history[0][images] - history[1][images]).abs().max().item())


def check_group(victims: Victims, alone: Path, folder: Path, processes: int) -> tuple[bool, float]:
    run_group(victims, alone, folder, processes)
    noises, largest = differences(alone, folder)
    assert noises
    assert largest <= TOLERANCE
    assert folder_sha256(alone / PAIRS) == folder_sha256(folder / PAIRS)
    one, other = (pd.read_csv(path / "data" / SYSTEM / "training" / "losses.csv") for path in (alone, folder))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4, atol=1e-6)
    # Every image is drawn by one process and summed up in order, so the summary is the same to the bit.
    summaries = [load_tensors(path / "summary.safetensors") for path in (alone, folder)]
    assert int(summaries[0]["count"]) == 27
    assert all(torch.equal(summaries[0][name], summaries[1][name]) for name in summaries[0])
    return noises, largest


def test_two_processes_leave_what_one_leaves(victims: Victims, alone: Path, tmp_path: Path) -> None:
    check_group(victims, alone, tmp_path, 2)


@pytest.mark.parametrize(
    "kind", ["adapters", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("latent", "text"))]
)
def test_two_processes_of_another_kind_of_teacher_too(kind: str, victims: Victims, tmp_path: Path) -> None:
    check_group(victims, run_alone(victims, kind, tmp_path / "one"), tmp_path / "two", 2)


@pytest.mark.slow
def test_two_and_four_processes_leave_what_one_leaves(victims: Victims, alone: Path, tmp_path: Path) -> None:
    found = [check_group(victims, alone, tmp_path / str(number), number) for number in (2, 4)]
    keep(
        processes={
            "noise_equal": all(noises for noises, _ in found),
            "max_image_difference": max(largest for _, largest in found),
        }
    )


def test_when_one_process_is_killed_the_other_says_so_and_a_rerun_goes_on(
    victims: Victims, alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "system"
    shutil.copytree(alone, folder, ignore=shutil.ignore_patterns(".work", "training", "generator", "log"))
    write_params(folder, {**TINY, **CHANGES, "distill.steps": 100_000, "distill.checkpoint_steps": 3})
    _, second = victims.start("distill", folder, 2)
    while not list(folder.glob(".work/distill/*/step-*/hashes.json")):
        time.sleep(0.1)
    os.kill(second, signal.SIGKILL)
    began = time.monotonic()
    first, _ = victims.wait()
    assert first == 1
    assert time.monotonic() - began < 60
    log = (folder / "log").read_text(encoding="utf-8")
    assert "error: another process of this run is gone" in log
    assert "Traceback" not in log
    (folder / "log").unlink()
    _, second = victims.start("distill", folder, 2)
    while not (folder / "log").exists() or "distilling from" not in (folder / "log").read_text(encoding="utf-8"):
        time.sleep(0.1)
    os.kill(second, signal.SIGKILL)
    victims.wait()
    assert "distilling from step 0 " not in (folder / "log").read_text(encoding="utf-8")
