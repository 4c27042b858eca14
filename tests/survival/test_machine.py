"""A machine that lies: full disks, folders that cannot be written, no memory, clocks that go back, two runs at once."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer
from torch import Tensor

from dmd.datasets.pairs import shard_rows, write_shards
from dmd.diffusion.rng import batch_order
from dmd.distill.distiller import HEALTH_PAIRS
from dmd.pairs.recipe import PairRecipe
from dmd.runtime.files import load_json, load_tensors
from stages import distill, pairs
from stages.command import cli
from tests.survival import harms
from tests.survival.victims import SYSTEM, TINY, Victims, make_system, outputs, write_params

COMMANDS = {"pairs": pairs.main, "distill": distill.main}
PAIRS = HEALTH_PAIRS + 100
RECIPE = PairRecipe(0, (1, 8, 8), 10, 1.5, {"num_train_timesteps": 1000}, "euler", 2, "trailing")
LITTLE = 1400
"""MiB: more than one of the pads of 1 GiB that `stages.command.cli.keep_freed_memory` asks for, less than two."""
LARGE = {"distill.steps": 1, "distill.history_epochs": 1, "distill.batch_size": 16384, "distill.pairs_batch_size": 64}


@pytest.fixture(scope="module")
def systems(victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each stage, with all that the stage reads."""
    folders = {stage: tmp_path_factory.mktemp(stage) / "system" for stage in COMMANDS}
    make_system(folders["pairs"])
    shutil.copytree(folders["pairs"], folders["distill"])
    victims.run("pairs", folders["distill"])
    shutil.rmtree(folders["distill"] / ".work")
    return folders


@pytest.fixture(scope="module")
def expected(victims: Victims, systems: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What each stage leaves where the machine tells the truth."""
    left = {}
    for stage, system in systems.items():
        folder = tmp_path_factory.mktemp(f"whole-{stage}") / "system"
        shutil.copytree(system, folder)
        victims.run(stage, folder)
        left[stage] = outputs(folder)
    return left


@pytest.fixture(params=COMMANDS)
def stage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(stage: str, systems: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(systems[stage], tmp_path / "system", ignore=shutil.ignore_patterns("log", "peak"))


def fail(victims: Victims, stage: str, folder: Path) -> str:
    """What the stage says, which must end with exit code 1 and leave no output folder that DVC could take for whole."""
    before = seen(folder)
    victims.start(stage, folder)
    status, said = victims.wait(), (folder / "log").read_text(encoding="utf-8")
    assert status == [1], said[-3000:]
    assert "Traceback" not in said
    assert seen(folder) == before
    (folder / "log").unlink()
    return said[said.index("error: ") :]


def seen(folder: Path) -> set[str]:
    """The folders that DVC may take for outputs."""
    return {path.name for part in ("data", "models") for path in (folder / part / SYSTEM).glob("[!.]*")}


def check_goes_on(victims: Victims, stage: str, folder: Path, expected: dict[str, dict]) -> None:
    """The next run of the stage leaves, to the bit, what one without any failure leaves."""
    victims.run(stage, folder)
    assert outputs(folder) == expected[stage]


# A batch of pairs takes 2.5 kB of safetensors and a shard 4.6 kB; a checkpoint 300 kB.
@pytest.mark.parametrize(("stage", "largest"), [("pairs", 1000), ("pairs", 4000), ("distill", 100_000)])
def test_a_full_disk_is_named_and_the_stage_goes_on(
    stage: str, largest: int, victims: Victims, folder: Path, expected: dict[str, dict]
) -> None:
    harms.plan(folder, full_disk=largest)
    said = fail(victims, stage, folder)
    assert "the disk is full" in said
    assert "make room, then run the stage again" in said
    check_goes_on(victims, stage, folder, expected)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with 132 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=132k", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here: " + mounted.stderr.decode(errors="replace").strip())
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("stage", ["pairs"])
def test_a_small_file_system_fills_up_and_is_enlarged(
    stage: str, victims: Victims, folder: Path, small_disk: Path, expected: dict[str, dict]
) -> None:
    system = shutil.copytree(folder, small_disk / "system")
    assert "the disk is full" in fail(victims, stage, system)
    made = len(list(system.glob(".work/pairs/*/*/rows-*.json")))
    assert made > 0
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    check_goes_on(victims, stage, system, expected)


@pytest.mark.parametrize("stage", ["distill"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(victims: Victims, stage: str, folder: Path) -> None:
    closed = folder / "data" / SYSTEM
    closed.chmod(0o555)
    harms.plan(folder, obey_modes=True)
    said = fail(victims, stage, folder)
    assert f"error: {closed.relative_to(folder)} cannot be written" in said
    assert "mend its mode or its mount" in said
    assert not (folder / ".work" / stage).exists() or not list((folder / ".work" / stage).rglob("*.safetensors"))
    closed.chmod(0o755)


@pytest.fixture
def starved(victims: Victims, folder: Path) -> Path:
    """A distillation that has run out of memory, and named a cure."""
    write_params(folder, TINY | LARGE)
    harms.plan(folder, little_memory=LITTLE)
    said = fail(victims, "distill", folder)
    assert "error: out of memory" in said
    assert "lower distill.micro_batch_size" in said
    return folder


@pytest.mark.parametrize("stage", ["distill"])
def test_out_of_memory_names_a_cure(starved: Path) -> None:
    assert not (starved / "models" / SYSTEM / "generator").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["distill"])
def test_the_cure_for_too_little_memory_cures(victims: Victims, starved: Path) -> None:
    write_params(starved, TINY | LARGE | {"distill.micro_batch_size": 256})
    harms.plan(starved, little_memory=LITTLE)
    victims.run("distill", starved)
    assert (starved / "models" / SYSTEM / "generator").is_dir()


def test_a_clock_that_goes_back_changes_nothing(
    victims: Victims, stage: str, folder: Path, expected: dict[str, dict]
) -> None:
    harms.plan(folder, full_disk={"pairs": 4000, "distill": 100_000}[stage])
    fail(victims, stage, folder)
    for path in (folder / ".work").rglob("*"):
        os.utime(path, (4e9, 4e9))  # the year 2096
    harms.plan(folder, clock_back=3600.0)
    check_goes_on(victims, stage, folder, expected)


def test_a_second_run_is_refused_and_the_first_ends_as_if_alone(
    victims: Victims,
    stage: str,
    folder: Path,
    expected: dict[str, dict],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (first,) = victims.start(stage, folder)
    lock = folder / ".work" / "locks" / f"{stage}-{SYSTEM}"
    while not (lock.exists() and lock.read_text(encoding="utf-8")):
        assert not (folder / "peak").exists(), "the first run has ended too early"
        time.sleep(0.001)
    os.kill(first, signal.SIGSTOP)
    try:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", [stage, "params.yaml"])
        with pytest.raises((SystemExit, typer.Exit)) as end:
            cli.run(COMMANDS[stage])
    finally:
        os.kill(first, signal.SIGCONT)
    assert getattr(end.value, "code", getattr(end.value, "exit_code", None)) == 1
    said = capsys.readouterr().err
    assert f"the stage `{stage}` of {SYSTEM} is being run by process {first} on" in said
    assert "wait until it is done, or stop it" in said
    assert victims.wait() == [0]
    assert outputs(folder) == expected[stage]


@pytest.mark.parametrize("stage", ["distill"])
def test_a_loss_that_is_not_finite_names_step_and_term_and_the_last_checkpoint_stays(
    victims: Victims, stage: str, folder: Path
) -> None:
    size = TINY["distill.pairs_batch_size"]
    order = batch_order(0, 0, TINY["distill.steps"] * size, PAIRS)
    place = next(
        i for i, row in enumerate(order) if row >= HEALTH_PAIRS and i // size >= TINY["distill.checkpoint_steps"]
    )
    row, step = order[place], place // size

    def make(rows: range) -> dict[str, Tensor]:
        index = torch.arange(rows.start, rows.stop)
        x0 = torch.where(index == row, 1e30, index / PAIRS)[:, None, None, None].expand(-1, 1, 8, 8)
        return {"z": x0.clamp(max=1), "x0": x0, "label": index % 10, "index": index}

    shutil.rmtree(folder / "data" / SYSTEM / "pairs")
    (folder / "data" / SYSTEM / "pairs").mkdir()
    write_shards(folder / "data" / SYSTEM / "pairs", shard_rows(PAIRS, PAIRS), make, {})
    said = fail(victims, stage, folder)
    assert f"not finite at step {step}: " in said
    assert "regression inf" in said
    assert "distribution_matching inf" not in said
    (*_, last) = sorted(folder.glob(".work/distill/*/step-*"))
    assert load_json(last / "state.json")["step"] <= step
    assert all(tensor.isfinite().all() for tensor in load_tensors(last / "state.safetensors").values())
    assert f"not finite at step {step}: " in fail(victims, stage, folder)
    assert last.exists()
