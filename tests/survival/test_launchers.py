"""The launchers themselves: torchrun and accelerate start several processes, which leave what one leaves."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dmd.commands.overrides import flat
from dmd.runtime.files import folder_sha256, load_json
from tests.survival.beyond_pixels import KINDS
from tests.survival.victims import PATIENCE, ROOT, SCORED, SYSTEM, add_evaluation, make_scored_system, write_params

CHANGES: dict[str, Any] = {
    "evaluate.num_samples": 130,
    "evaluate.num_sets": 2,
    "evaluate.num_steps": 3,
    "evaluate.batch_size": 50,
    "distill.learning_rate_generator": 1e-4,
}
STAGES = ("pairs", "distill", "evaluate")
LAUNCHERS = {
    "torchrun 2": ["torchrun", "--nproc_per_node", "2", "-m"],
    "torchrun 4": ["torchrun", "--nproc_per_node", "4", "-m"],
    "accelerate 2": ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", "-m"],
    "accelerate 4": ["accelerate", "launch", "--multi_gpu", "--num_processes", "4", "-m"],
}
MEASURED = ("seconds", "latency", "speed", "memory")
"""Parts of the names of scores that are times and sizes, and differ from run to run."""

pytestmark = pytest.mark.slow


def start(folder: Path, launcher: list[str], stage: str) -> "subprocess.Popen[str]":
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = [*launcher, f"stages.{stage}", "params.yaml"]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True, **both)


def run(folder: Path, launcher: list[str], stages: tuple[str, ...] = STAGES) -> None:
    for stage in stages:
        with start(folder, launcher, stage) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said[-3000:]


def scores(folder: Path) -> dict[str, float]:
    found = flat(load_json(folder / "data" / SYSTEM / "evaluation" / "scores.json"))
    numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
    return {key: value for key, value in numbers.items() if not any(name in key for name in MEASURED)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "system"
    make_scored_system(folder, CHANGES)
    return folder


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves."""
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("alone") / "system")
    run(folder, [sys.executable, "-m"])
    return folder


def assert_same(folder: Path, alone: Path) -> None:
    """The same pairs to the bit, and losses and scores within the rounding of sums over parts."""
    data, other = folder / "data" / SYSTEM, alone / "data" / SYSTEM
    assert folder_sha256(data / "pairs") == folder_sha256(other / "pairs")
    losses = [pd.read_csv(place / "training" / "losses.csv") for place in (data, other)]
    pd.testing.assert_frame_equal(*losses, rtol=1e-3, atol=1e-5)
    assert not losses[0].equals(losses[1])  # sums of parts: there were several processes
    assert scores(folder) == pytest.approx(scores(alone), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_processes_of_a_launcher_leave_what_one_leaves(
    launcher: str, prepared: Path, alone: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(prepared, tmp_path / "system")
    run(folder, LAUNCHERS[launcher])
    assert_same(folder, alone)


@pytest.mark.parametrize("kind", ["latent", "adapters"])
def test_other_kinds_of_teachers_too(kind: str, tmp_path: Path) -> None:
    KINDS[kind](tmp_path / "one", CHANGES)
    add_evaluation(tmp_path / "one")
    run(tmp_path / "one", [sys.executable, "-m"], ("teacher",))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for folder, launcher in (("one", [sys.executable, "-m"]), ("two", LAUNCHERS["accelerate 2"])):
        run(tmp_path / folder, launcher)
    assert_same(tmp_path / "two", tmp_path / "one")


def test_divergences_weigh_the_samples_of_all_processes(prepared: Path, tmp_path: Path) -> None:
    """A process that averaged h(r) over its own part alone would report another matching loss."""
    changes = {"matching.divergence": "forward_kl", "discriminator.kind": "convolutional", "discriminator.weight": 0.06}
    for name, launcher in (("one", [sys.executable, "-m"]), ("two", LAUNCHERS["torchrun 2"])):
        shutil.copytree(prepared, tmp_path / name)
        write_params(tmp_path / name, SCORED | CHANGES | {f"distill.{key}": value for key, value in changes.items()})
        run(tmp_path / name, launcher, ("pairs", "distill"))
    one, two = (pd.read_csv(tmp_path / name / "data" / SYSTEM / "training" / "losses.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-3, atol=1e-5)
    assert not one.equals(two)


def test_a_launchers_precision_is_the_params_or_refused(alone: Path, tmp_path: Path) -> None:
    losses = []
    for precision in (None, "bf16"):
        folder = shutil.copytree(alone, tmp_path / str(precision))
        shutil.rmtree(folder / "data" / SYSTEM / "training")
        write_params(folder, SCORED | CHANGES | {"distill.mixed_precision": precision})
        for launched in ("bf16", "no"):
            launcher = ["accelerate", "launch", "--mixed_precision", launched, "--num_processes", "1", "-m"]
            with start(folder, launcher, "distill") as process:
                said, _ = process.communicate(timeout=PATIENCE)
            if precision is None and launched == "bf16":
                assert process.returncode == 1
                assert "error: ACCELERATE_MIXED_PRECISION is bf16, but distill.mixed_precision is null: " in said
                assert not (folder / "data" / SYSTEM / "training").exists()
            else:
                assert process.returncode == 0, said[-3000:]
        losses.append(pd.read_csv(folder / "data" / SYSTEM / "training" / "losses.csv"))
    pd.testing.assert_frame_equal(*losses, rtol=0.2, atol=1e-4)
    assert not losses[0].equals(losses[1])


def test_a_launcher_ends_when_a_process_is_killed(prepared: Path, alone: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(prepared, tmp_path / "system")
    shutil.copytree(alone / "data" / SYSTEM / "pairs", folder / "data" / SYSTEM / "pairs")
    write_params(folder, SCORED | CHANGES | {"distill.steps": 100_000})
    with start(folder, LAUNCHERS["torchrun 2"], "distill") as process:
        while not list(folder.glob(".work/distill/*/step-*/hashes.json")):
            assert process.poll() is None
            time.sleep(0.1)
        assert_ends_clearly(process)


def test_an_evaluation_ends_when_a_process_of_it_is_killed(alone: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(alone, tmp_path / "system")
    write_params(folder, SCORED | CHANGES | {"evaluate.num_samples": 100_000})
    with start(folder, LAUNCHERS["torchrun 2"], "evaluate") as process:
        assert process.stdout is not None
        said = ""
        while not re.search(r"teacher \d+/\d+: [^\r]*\| [1-9]\d*/", said):
            assert process.poll() is None, said
            said += os.read(process.stdout.fileno(), 4096).decode(errors="replace")
        assert_ends_clearly(process)


def assert_ends_clearly(process: "subprocess.Popen[str]") -> None:
    """Kill one of the launcher's processes; the others say so and end, within a minute."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "another process of this run is gone" in said or "another process of it is gone" in said
