"""Sources and params edited while a stage runs: DVC would lock the new ones with outputs of the old."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer

from stages.command import cli
from tests.survival.victims import write_params

PIPELINE = "stages:\n  test_edits:\n    params: ['${file}': [seed, distill.betas, pairs]]\n"


def finish(monkeypatch: pytest.MonkeyPatch, edit: Callable[[], object]) -> int:
    """The exit code of a stage during which `edit` happens; the stage's name is that of this file."""
    monkeypatch.setattr(sys, "argv", ["stage", "params.yaml"])
    with pytest.raises((SystemExit, typer.Exit)) as end:
        cli.run(lambda config: edit() and None)
    return getattr(end.value, "exit_code", getattr(end.value, "code", None)) or 0


def change(old: str, new: str) -> None:
    path = Path("params.yaml")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with params, dvc.yaml and the source of a loaded module."""
    write_params(tmp_path, {"seed": 5, "alpha": 2.0})
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "extra.py").write_text("a = 1\n", encoding="utf-8")
    module = ModuleType("dmd.extra")
    module.__file__ = str(tmp_path / "extra.py")
    monkeypatch.setitem(sys.modules, "dmd.extra", module)
    monkeypatch.chdir(tmp_path)
    return tmp_path


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "source edited": (lambda: Path("extra.py").write_text("a = 2\n"), "extra.py"),
    "source removed": (lambda: Path("extra.py").unlink(), "extra.py"),
    "param": (lambda: change("seed: 5", "seed: 6"), "seed in params.yaml"),
    "param of a section": (lambda: change("- 0.999\n", "- 0.99\n"), "distill.betas in params.yaml"),
    "section": (lambda: change("  shard_size: 512", "  shard_size: 513"), "pairs in params.yaml"),
    "params half written": (lambda: Path("params.yaml").write_text("seed: [5"), "seed in params.yaml"),
    "params removed": (lambda: Path("params.yaml").unlink(), "seed in params.yaml"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_edit_that_would_be_locked_is_refused(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, named = REFUSED[name]
    assert finish(monkeypatch, edit) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert f"error: {named}" in said
    assert "changed while the stage ran; run the stage again" in said


ACCEPTED: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "source touched": lambda: os.utime("extra.py", (0, 0)),
    "param of another stage": lambda: change("alpha: 2.0", "alpha: 3.0"),
    "comment": lambda: change("seed: 5", "seed: 5 # five"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_edit_that_is_not_locked_is_none(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finish(monkeypatch, ACCEPTED[name]) == 0


def test_without_a_pipeline_all_params_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "dvc.yaml").unlink()
    assert finish(monkeypatch, lambda: change("alpha: 2.0", "alpha: 3.0")) == 1
    assert "params.yaml changed while the stage ran" in capsys.readouterr().err


def test_a_launcher_that_starts_too_few_processes_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the environment that `accelerate launch --cpu --num_processes 2` of accelerate 1.15 gives."""
    for name in ("RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    seen = {"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in seen.items():
        monkeypatch.setenv(name, value)
    assert finish(monkeypatch, lambda: None) == 1
    assert "take `torchrun --nproc_per_node N`" in capsys.readouterr().err
    monkeypatch.delenv("MASTER_ADDR")  # as with --num_processes 1
    assert finish(monkeypatch, lambda: None) == 0
