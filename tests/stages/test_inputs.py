"""A stage starts at the repository's root, its inputs there and its outputs replaceable, or says what is missing."""

import shutil
import sys
from pathlib import Path

import pytest
import typer

from dmd.runtime.locks import BusyError
from stages import report
from stages.command import cli
from stages.command.pipeline import check_inputs, output_folders

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "mnist-small"
FIRST = {
    "teacher": ("data/mnist-small/dataset", "fetch"),
    "pairs": ("models/mnist-small/teacher", "teacher"),
    "distill": ("models/mnist-small/teacher", "teacher"),
    "evaluate": ("models/mnist-small/teacher", "teacher"),
    "report": ("data/mnist-small/evaluation", "evaluate"),
}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root's params and pipeline, and another system's, before anything has run."""
    for name in ("dvc.yaml", "params.yaml", "pipelines/celeba/params.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("stage", FIRST)
def test_a_stage_before_its_inputs_names_the_first_and_its_stage(stage: str, clone: Path) -> None:
    path, writer = FIRST[stage]
    with pytest.raises(ValueError, match=rf"^{path} is not there, .*run the stage `{writer}` first: `dvc repro"):
        check_inputs(stage, SYSTEM)


def test_a_stage_with_its_inputs_starts(clone: Path) -> None:
    check_inputs("fetch", SYSTEM)
    (clone / "models" / SYSTEM / "teacher").mkdir(parents=True)
    check_inputs("pairs", SYSTEM)


def test_the_folders_that_a_stage_replaces_are_known(clone: Path) -> None:
    data, models = Path("data", SYSTEM), Path("models", SYSTEM)
    assert output_folders("pairs", SYSTEM) == [data / "pairs"]
    assert output_folders("distill", SYSTEM) == [models / "generator", data / "training"]
    assert output_folders("report", SYSTEM) == []
    weights = [data / "weights" / name for name in ("teacher", "perceptual", "features")]
    assert output_folders("fetch", SYSTEM) == [data / "dataset", *weights]


def start(params: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command of the stage report."""
    monkeypatch.setattr(sys, "argv", ["stage", params])
    with pytest.raises((SystemExit, typer.Exit)) as end:
        cli.run(report.main)
    return getattr(end.value, "exit_code", getattr(end.value, "code", None)) or 0


@pytest.mark.parametrize("name", ["params.yaml", "pipelines/celeba/params.yaml"])
def test_a_stage_in_another_folder_is_refused_and_writes_nothing(
    name: str, clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = clone / "pipelines" / "celeba"
    before = sorted(folder.iterdir())
    monkeypatch.chdir(folder)
    assert start(str(clone / name), monkeypatch) == 1
    said = capsys.readouterr().err
    assert f"error: this is {folder}, and a stage runs in the repository's root; go to {clone}, and name {name}" in said
    assert sorted(folder.iterdir()) == before


def test_the_command_says_what_is_missing_in_one_line(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("params.yaml", monkeypatch) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: data/mnist-small/evaluation is not there, and the stage `report` reads it; ")
    assert said.count("\n") == 1


def test_an_output_that_cannot_be_replaced_is_refused_before_the_work(clone: Path) -> None:
    (clone / "models" / SYSTEM).mkdir(parents=True)
    (clone / "models" / SYSTEM / "generator").symlink_to("/proc")
    with pytest.raises(OSError, match=r"generator, which leads to /proc, is a mount point"):
        cli.hold_outputs("distill", SYSTEM)


def test_a_checkout_is_one_by_whatever_path_it_is_reached(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DMD_WORK", raising=False)
    checkout = clone / "here"
    checkout.mkdir()
    shutil.copy("dvc.yaml", checkout)
    monkeypatch.chdir(checkout)
    with cli.hold_outputs("distill", SYSTEM):
        monkeypatch.chdir(checkout.rename(clone / "there"))  # a path that leads to the same folder, as a second mount's
        with pytest.raises(BusyError, match="the stage `distill` of mnist-small"), cli.hold_outputs("distill", SYSTEM):
            pass


@pytest.mark.parametrize("work", ["", "work"])
def test_checkouts_that_share_the_locks_run_beside_one_another(
    work: str, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMD_WORK", work and str(clone / work))
    copy = clone / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx"
    copy.mkdir(parents=True)
    shutil.copy("dvc.yaml", copy)
    with cli.hold_outputs("distill", SYSTEM):
        monkeypatch.chdir(copy)
        with cli.hold_outputs("distill", SYSTEM):
            assert len(list((clone / (work or ".work") / "locks").iterdir())) == 2
            with pytest.raises(BusyError), cli.hold_outputs("distill", SYSTEM):
                pass
