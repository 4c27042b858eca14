"""Hostile weights, archives and downloads, by name."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dmd.fetch.downloads import Original
from dmd.runtime.files import load_json, save_json

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


# SHA-256 of b"the right bytes".
RIGHT = Original("weights.pth", "sha256", "a3580425cdf75097ce23009719cdfc51")
DOWNLOADS = {
    "cut": "cut",
    "wrong": "is not the file that is wanted",
    "html": "an HTML page",
    "loop": "redirects",
    "missing": "HTTP 404",
}
