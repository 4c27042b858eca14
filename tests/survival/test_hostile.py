"""Hostile weights, archives, downloads and data: one clear line, exit code 1, and nothing written."""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from dmd.fetch import archives
from dmd.fetch.archives import ArchiveError, extract
from dmd.fetch.downloads import DownloadError, obtain
from dmd.fetch.mirrors import HttpMirror
from dmd.params.config import Config
from dmd.runtime.files import save_json
from stages import fetch, teacher
from stages.command import cli
from tests.survival.figures import keep
from tests.survival.hostile_data import FOLDERS, MNIST, make_mnist, make_pictures
from tests.survival.hostile_inputs import ARCHIVES, DOWNLOADS, RIGHT, WEIGHTS, Liar
from tests.survival.hostile_pipelines import PIPELINES, make_pipeline
from tests.survival.victims import SYSTEM, make_system

CASES = [
    *(("weights", name) for name in WEIGHTS),
    *(("archive", name) for name in ARCHIVES),
    *(("download", name) for name in DOWNLOADS),
    *(("mnist", name) for name in MNIST),
    *(("folder", name) for name in FOLDERS),
    *(("pipeline", name) for name in PIPELINES),
]
CURES = ("restore", "name another", "set ", "take a model", "bring it again")
"""What a line about a pipeline's files tells to do."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Court:
    """Tries each case in a folder of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str) -> None:
        self.patch, self.capsys, self.address = patch, capsys, address

    def refuses(self, kind: str, name: str, folder: Path) -> None:
        """Fail where the case is not refused as it should be."""
        folder.mkdir(parents=True, exist_ok=True)
        getattr(self, kind)(name, folder)

    def weights(self, name: str, folder: Path) -> None:
        WEIGHTS[name](make_teacher(folder))
        self.said_by(teacher.main, folder)
        assert not (folder / "models" / SYSTEM / "teacher").exists()
        assert not (folder / "code-was-run").exists()

    def archive(self, name: str, folder: Path) -> None:
        self.patch.setattr(archives, "LARGEST", 1_000_000)
        member, write = ARCHIVES[name]
        write(folder / "archive")
        out = folder / "in" / "out"
        out.mkdir(parents=True)
        with pytest.raises(ArchiveError, match="archive"):
            extract(folder / "archive", [member], out)
        assert sorted(path.name for path in folder.rglob("*")) == ["archive", "in", "out"]

    def download(self, kind: str, folder: Path) -> None:
        mirror = HttpMirror("test", f"{self.address}/{kind}/", {RIGHT.name: RIGHT})
        with pytest.raises(DownloadError, match=DOWNLOADS[kind]):
            obtain([RIGHT], [mirror], folder, 5.0)
        assert not list(folder.iterdir())

    def mnist(self, name: str, folder: Path) -> None:
        harm, named = MNIST[name]
        harm(make_mnist(folder))
        assert named in self.said_by(teacher.main, folder)
        assert not (folder / "models" / SYSTEM / "teacher").exists()

    def folder(self, name: str, folder: Path) -> None:
        harm, named = FOLDERS[name]
        harm(make_pictures(folder))
        assert named in self.said_by(fetch.main, folder)
        assert not (folder / "data" / SYSTEM / "dataset").exists()

    def pipeline(self, name: str, folder: Path) -> None:
        harm, named = PIPELINES[name]
        harm(make_pipeline(folder))
        met_by_fetch = not named.startswith("teacher/")
        if not met_by_fetch:
            assert run(fetch.main, folder, self.patch) == 0
            self.capsys.readouterr()
        said = self.said_by(fetch.main if met_by_fetch else teacher.main, folder)
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert named in line
        assert any(cure in line for cure in CURES)
        weights = folder / "data" / SYSTEM / "weights" / "teacher"
        assert not (weights if met_by_fetch else folder / "models" / SYSTEM / "teacher").exists()
        assert not (folder / "code-was-run").exists()

    def said_by(self, stage: Callable[[Config], None], folder: Path) -> str:
        """What the stage says on standard error, ending with exit code 1 and without a traceback."""
        status, said = run(stage, folder, self.patch), self.capsys.readouterr().err
        assert status == 1
        assert "error: " in said
        assert "Traceback" not in said
        return said


def run(stage: Callable[[Config], None], folder: Path, patch: pytest.MonkeyPatch) -> int:
    """The exit code of a stage's command in `folder`."""
    patch.chdir(folder)
    patch.delenv("DMD_DOWNLOADS", raising=False)
    patch.setattr(sys, "argv", ["stage", "params.yaml"])
    with pytest.raises((SystemExit, typer.Exit)) as end:
        cli.run(stage)
    return getattr(end.value, "code", getattr(end.value, "exit_code", None)) or 0


def make_teacher(root: Path) -> Path:
    """A tiny system with a teacher as `fetch` brings it; the folder of that."""
    make_system(root)
    folder = root / "data" / SYSTEM / "weights" / "teacher"
    shutil.move(root / "models" / SYSTEM / "teacher", folder)
    save_json(folder / "origin.json", {"source": "a test"})
    return folder


@pytest.fixture
def court(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str) -> Court:
    return Court(monkeypatch, capsys, address)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_each_is_refused(kind: str, name: str, court: Court, tmp_path: Path) -> None:
    court.refuses(kind, name, tmp_path / "case")


@pytest.mark.slow
def test_all_are_refused_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []
    for number, (kind, name) in enumerate(CASES):
        with monkeypatch.context() as patch:
            try:
                Court(patch, capsys, address).refuses(kind, name, tmp_path / str(number))
            except (Exception, pytest.fail.Exception) as error:
                failed.append((kind, name, error))
    kinds = {kind: sum(kind == each for each, _ in CASES) for kind, _ in CASES}
    keep(hostile={"total": len(CASES), "refused": len(CASES) - len(failed), "kinds": kinds})
    assert not failed


def test_the_unharmed_pass(monkeypatch: pytest.MonkeyPatch, address: str, tmp_path: Path) -> None:
    assert len(CASES) >= 25
    for name, make, stage in (
        ("weights", make_teacher, teacher),
        ("folder", make_pictures, fetch),
        ("pipeline", make_pipeline, fetch),
    ):
        make(tmp_path / name)
        assert run(stage.main, tmp_path / name, monkeypatch) == 0
    written = tmp_path / "weights" / "models" / SYSTEM / "teacher" / "config.json"
    assert json.loads(written.read_text())["sample_size"] == 8
    assert run(teacher.main, tmp_path / "pipeline", monkeypatch) == 0
    assert (tmp_path / "folder" / "data" / SYSTEM / "dataset" / "train.safetensors").exists()
    make_mnist(tmp_path / "mnist")
    assert run(teacher.main, tmp_path / "mnist", monkeypatch) == 0
    right = HttpMirror("test", f"{address}/right/", {RIGHT.name: RIGHT})
    (tmp_path / "downloads").mkdir()
    obtain([RIGHT], [right], tmp_path / "downloads", 5.0)
