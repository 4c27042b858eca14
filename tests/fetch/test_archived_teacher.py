"""A published zip file becomes a teacher: by address and git blob id, tensors alone, into the right network."""

import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dmd.fetch import archived_teacher
from dmd.fetch.archived_teacher import ARCHIVES, Archive, convert
from dmd.fetch.archives import ArchiveError, find_member
from dmd.fetch.downloads import DownloadError, Original
from dmd.fetch.teacher import find_teacher, place_teacher
from dmd.models.teapearce import TeaPearceUNet
from dmd.runtime.files import load_json, load_tensors

MODEL = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are not in the checkout."""
    monkeypatch.setenv("DMD_WORK", str(tmp_path / "work"))


def small_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return TeaPearceUNet(width=8).state_dict()


def write_zip(path: Path, state: object) -> str:
    """A zip file as the published one: the pickle in a folder. Returns its git blob id, as git itself computes it."""
    torch.save(state, path.with_suffix(".pth"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".pth"), "pretrained_model/model_39.pth")
        archive.writestr("pretrained_model/readme.txt", "weights")
    done = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a folder that is served on loopback."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "served").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/pretrained_model.zip"
        running.shutdown()


def publish(monkeypatch: pytest.MonkeyPatch, address: str, blob: str) -> None:
    archive = Archive(Original("pretrained_model.zip", "git-blob", blob), "model_39.pth")
    monkeypatch.setattr(archived_teacher, "ARCHIVES", {address: archive})


def test_a_served_archive_becomes_the_teacher_and_is_not_asked_for_twice(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = small_state()
    publish(monkeypatch, server, write_zip(tmp_path / "served" / "pretrained_model.zip", state))
    source = find_teacher(server, None, tmp_path / "downloads", 5.0)
    place_teacher(source, tmp_path / "teacher")
    found = load_tensors(tmp_path / "teacher" / MODEL)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    config, scheduler = (
        load_json(tmp_path / "teacher/config.json"),
        load_json(tmp_path / "teacher/scheduler_config.json"),
    )
    assert (config["_class_name"], config["width"], config["num_class_embeds"]) == ("TeaPearceUNet", 8, 11)
    assert (scheduler["num_train_timesteps"], scheduler["beta_start"], scheduler["beta_end"]) == (400, 1e-4, 2e-2)
    assert load_json(tmp_path / "teacher/origin.json")["source"] == server
    assert len(load_json(tmp_path / "teacher/origin.json")["git-blob"]) == 40
    (tmp_path / "served" / "pretrained_model.zip").unlink()
    again = find_teacher(server, None, tmp_path / "downloads", 5.0)
    assert again is not None
    assert all(path.is_file() for path in again.weights())


def test_an_archive_with_other_bytes_is_refused(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zip(tmp_path / "served" / "pretrained_model.zip", small_state())
    publish(monkeypatch, server, "0" * 40)
    with pytest.raises(DownloadError, match=r"(?s)git-blob .*wanted 0000.*Put the files by hand into .*downloads"):
        find_teacher(server, None, tmp_path / "downloads", 5.0)
    (tmp_path / "served" / "pretrained_model.zip").unlink()
    with pytest.raises(DownloadError, match="404"):
        find_teacher(server, None, tmp_path / "downloads", 5.0)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "harm",))

    publish(monkeypatch, server, write_zip(tmp_path / "served" / "pretrained_model.zip", {"weight": Harm()}))
    with pytest.raises(ValueError, match="holds more than named tensors"):
        find_teacher(server, None, tmp_path / "downloads", 5.0)
    assert not (tmp_path / "harm").exists()


def test_the_published_archive_is_known_by_commit_and_blob() -> None:
    ((address, archive),) = ARCHIVES.items()
    assert "/657b498/" in address
    assert archive.original.digest == "bb6b05ebe5fbda64b38e2a9d52c326d7936ee9a4"
    with pytest.raises(
        ValueError, match=r"'https://example.org/x.zip': not a known archive; these are: https://github"
    ):
        find_teacher("https://example.org/x.zip", None, Path("downloads"), 1.0)


def test_the_blob_id_is_gits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello\n")
    Original("file", "git-blob", "ce013625030ba8dba906f756967f9e9ca394464a").check(tmp_path / "file")
    assert hashlib.sha1(b"blob 6\0hello\n").hexdigest() == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_weights_of_another_network_or_schedule_are_refused() -> None:
    state = small_state()
    with pytest.raises(ValueError, match="another network"):
        convert({"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"do not fit(?s:.*)nn_model.out.3.bias"):
        convert({name: value for name, value in state.items() if name != "nn_model.out.3.bias"})
    with pytest.raises(ValueError, match="table alphabar_t is not that of betas"):
        convert({**state, "alphabar_t": state["alphabar_t"] * 0.99})


def test_one_member_of_the_name_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/x.pth", "1")
        archive.writestr("b/x.pth", "2")
        archive.writestr("c/y.pth", "3")
    assert find_member(path, "y.pth") == "c/y.pth"
    for name, count in (("x.pth", 2), ("z.pth", 0)):
        with pytest.raises(ArchiveError, match=f"{count} members are called '{name}', not one"):
            find_member(path, name)
    path.write_bytes(b"<!doctype html>")
    with pytest.raises(ArchiveError, match="cannot be read as a zip file"):
        find_member(path, "y.pth")
