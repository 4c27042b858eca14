"""Hostile weights, archives and downloads: one clear line, exit code 1, and nothing written."""

import io
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file

from dmd import archives
from dmd.archives import ArchiveError, extract
from dmd.checkpoint import load_json, save_json
from dmd.downloads import DownloadError, Original, obtain
from dmd.mirrors import HttpMirror
from stages import cli, teacher
from tests.survival.victims import SYSTEM, make_system

MODEL = "diffusion_pytorch_model.safetensors"
Harm = Callable[[Path], None]


class RunsCode:
    """What a pickle of which would create a file when it is read."""

    def __reduce__(self):
        return os.mkdir, ("code-was-run",)


def change_tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Harm:
    def harm(folder: Path) -> None:
        tensors = load_file(folder / MODEL)
        change(tensors)
        save_file(tensors, folder / MODEL)

    return harm


def fill(value: float) -> Harm:
    return change_tensors(lambda tensors: tensors["conv_in.weight"].view(-1)[3:4].fill_(value))


def put(name: str, value: Callable[[torch.Tensor], torch.Tensor]) -> Harm:
    return change_tensors(lambda tensors: tensors.update({name: value(tensors["conv_in.weight"])}))


def cut(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-100])


def pickle_instead(folder: Path) -> None:
    torch.save({"conv_in.weight": RunsCode()}, folder / MODEL)


def pickle_alone(folder: Path) -> None:
    (folder / MODEL).unlink()
    torch.save({"conv_in.weight": RunsCode()}, folder / "diffusion_pytorch_model.bin")


def settings(**changes: object) -> Harm:
    return lambda folder: save_json(folder / "config.json", load_json(folder / "config.json") | changes)


def schedule(**changes: object) -> Harm:
    name = "scheduler_config.json"
    return lambda folder: save_json(folder / name, load_json(folder / name) | changes)


WEIGHTS: dict[str, Harm] = {
    "cut file": cut,
    "empty file": lambda folder: (folder / MODEL).write_bytes(b""),
    "noise": lambda folder: (folder / MODEL).write_bytes(bytes(range(256)) * 40),
    "endless header": lambda folder: (folder / MODEL).write_bytes((2**60).to_bytes(8, "little") + b"{}"),
    "an HTML page": lambda folder: (folder / MODEL).write_text("<html>not found</html>"),
    "a pickle under the name": pickle_instead,
    "a pickle alone": pickle_alone,
    "NaN": fill(float("nan")),
    "infinity": fill(float("inf")),
    "integers": put("conv_in.weight", lambda old: torch.ones(old.shape, dtype=torch.int64)),
    "wrong shape": put("conv_in.weight", lambda old: torch.zeros(old.shape[0], 3, 3, 3)),
    "a tensor is missing": change_tensors(lambda tensors: tensors.pop("conv_out.bias") and None),
    "a tensor too many": put("backdoor.weight", lambda _: torch.zeros(3)),
    "another architecture": settings(_class_name="VQModel"),
    "code of its own": settings(_class_name=["evil", "Evil"], auto_map={"AutoModel": "evil.Evil"}),
    "another size": settings(block_out_channels=[8, 16]),
    "another resolution": settings(sample_size=64),
    "other classes": settings(num_class_embeds=1001),
    "config is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "another schedule": schedule(beta_end=0.5),
    "empty folder": lambda folder: [path.unlink() for path in folder.iterdir()] and None,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_weights_are_refused_by_the_stage(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_system(tmp_path)
    folder = tmp_path / "data" / SYSTEM / "weights" / "teacher"
    shutil.move(tmp_path / "models" / SYSTEM / "teacher", folder)
    save_json(folder / "origin.json", {"source": "a test"})
    WEIGHTS[name](folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["teacher", "params.yaml"])
    with pytest.raises((SystemExit, typer.Exit)) as end:
        cli.run(teacher.main)
    assert getattr(end.value, "code", getattr(end.value, "exit_code", None)) == 1
    said = capsys.readouterr().err
    assert "error: " in said
    assert "Traceback" not in said
    assert not (tmp_path / "models" / SYSTEM / "teacher").exists()
    assert not (tmp_path / "code-was-run").exists()


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
    return info, b"data"


def write_tar(path: Path, info: tarfile.TarInfo, content: bytes) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(content))


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.pth", bytes(2_000_000))


def cut_zip(path: Path) -> None:
    bomb(path)
    path.write_bytes(path.read_bytes()[:-30])


def zip_link(path: Path) -> None:
    info = zipfile.ZipInfo("weights.pth")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")


ARCHIVES: dict[str, tuple[str, Harm]] = {
    "path traversal": ("../weights.pth", lambda path: write_tar(path, *tar_entry("../weights.pth"))),
    "traversal inside": ("a/../../weights.pth", lambda path: write_tar(path, *tar_entry("a/../../weights.pth"))),
    "absolute path": ("/weights.pth", lambda path: write_tar(path, *tar_entry("/weights.pth"))),
    "symbolic link": ("weights.pth", lambda p: write_tar(p, *tar_entry("weights.pth", tarfile.SYMTYPE, "/etc/passwd"))),
    "hard link": ("weights.pth", lambda p: write_tar(p, *tar_entry("weights.pth", tarfile.LNKTYPE, "/etc/passwd"))),
    "device": ("weights.pth", lambda path: write_tar(path, *tar_entry("weights.pth", tarfile.CHRTYPE))),
    "link in a zip file": ("weights.pth", zip_link),
    "bomb": ("weights.pth", bomb),
    "cut zip file": ("weights.pth", cut_zip),
    "HTML for an archive": ("weights.pth", lambda path: path.write_text("<html></html>")),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archives_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST", 1_000_000)
    member, write = ARCHIVES[name]
    write(tmp_path / "archive")
    out = tmp_path / "in" / "out"
    out.mkdir(parents=True)
    with pytest.raises(ArchiveError, match="archive"):
        extract(tmp_path / "archive", [member], out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "in", "out"]


class Liar(BaseHTTPRequestHandler):
    """A server that answers as the path says."""

    def do_GET(self) -> None:
        kind = self.path.strip("/").split("/")[0]
        if kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        body = {"html": b"<html>login</html>", "wrong": b"other bytes"}.get(kind, b"the right bytes")
        self.send_response(404 if kind == "missing" else 200)
        self.send_header("Content-Length", str(len(body) + (100 if kind == "cut" else 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# SHA-256 of b"the right bytes".
RIGHT = Original("weights.pth", "sha256", "a3580425cdf75097ce23009719cdfc51")
DOWNLOADS = {
    "cut": "cut",
    "wrong": "is not the file that is wanted",
    "html": "an HTML page",
    "loop": "redirects",
    "missing": "HTTP 404",
}


@pytest.mark.parametrize("kind", DOWNLOADS)
def test_hostile_downloads_are_refused(kind: str, address: str, tmp_path: Path) -> None:
    mirror = HttpMirror("test", f"{address}/{kind}/", {RIGHT.name: RIGHT})
    with pytest.raises(DownloadError, match=DOWNLOADS[kind]):
        obtain([RIGHT], [mirror], tmp_path, 5.0)
    assert not list(tmp_path.iterdir())
    right = HttpMirror("test", f"{address}/right/", {RIGHT.name: RIGHT})
    obtain([RIGHT], [right], tmp_path, 5.0)


def test_there_are_enough_cases_and_the_unharmed_ones_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(WEIGHTS) + len(ARCHIVES) + len(DOWNLOADS) >= 25
    make_system(tmp_path)
    folder = tmp_path / "data" / SYSTEM / "weights" / "teacher"
    shutil.move(tmp_path / "models" / SYSTEM / "teacher", folder)
    save_json(folder / "origin.json", {"source": "a test"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["teacher", "params.yaml"])
    with pytest.raises((SystemExit, typer.Exit)) as end:
        cli.run(teacher.main)
    assert getattr(end.value, "code", getattr(end.value, "exit_code", None)) in (0, None)
    assert json.loads((tmp_path / "models" / SYSTEM / "teacher" / "config.json").read_text())["sample_size"] == 8
