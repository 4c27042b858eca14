"""Downloads: only right bytes are kept, whatever a mirror sends; nothing half-written is left."""

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dmd.fetch.downloads import DownloadError, Original, downloads_folder, find, obtain, place
from dmd.fetch.mirrors import HttpMirror

CONTENT = bytes(range(256)) * 400
PACKED = gzip.compress(CONTENT, mtime=0)
HTML = b"<!doctype html><title>Please log in</title>"


def original(name: str, content: bytes, algorithm: str = "md5") -> Original:
    return Original(name, algorithm, hashlib.new(algorithm, content).hexdigest())


WANTED = original("images", CONTENT)
REMOTES = {"images": original("images.gz", PACKED)}


class Handler(BaseHTTPRequestHandler):
    """`/right/…`, `/html/…` and so on: the first part of the path says what comes back."""

    release = threading.Event()

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.server.asked.append(self.path)
        if kind == "silent":
            self.release.wait(20)
            return
        body = {"right": PACKED, "html": HTML, "wrong": gzip.compress(b"other", mtime=0), "cut": PACKED[:50]}.get(
            kind, b""
        )
        self.send_response(404 if kind == "gone" else 200)
        self.send_header("Content-Length", str(len(PACKED) if kind == "cut" else len(body)))
        if kind == "right":
            self.send_header("Content-Encoding", "gzip")  # some servers say so of .gz files; the bytes must stay packed
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Handler.release.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        Handler.release.set()
        running.shutdown()


def mirror(server: ThreadingHTTPServer, kind: str) -> HttpMirror:
    return HttpMirror(kind, f"http://127.0.0.1:{server.server_port}/{kind}/", REMOTES)


def test_a_right_file_is_kept_as_it_was_sent_and_placed_unpacked(server, tmp_path):
    obtain([WANTED], [mirror(server, "right")], tmp_path / "downloads", 5.0)
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["images.gz"]
    assert (tmp_path / "downloads/images.gz").read_bytes() == PACKED
    place(WANTED, tmp_path / "downloads", tmp_path / "out/images")
    assert (tmp_path / "out/images").read_bytes() == CONTENT
    assert os.listdir(tmp_path / "out") == ["images"]


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("gone", "HTTP 404"), ("html", "HTML page"), ("wrong", "wanted"), ("cut", "cut"), ("silent", "silent for 0.3 s")],
)
def test_a_bad_answer_is_named_and_the_next_mirror_asked(server, tmp_path, caplog, kind, answer):
    caplog.set_level("INFO")
    obtain([WANTED], [mirror(server, kind), mirror(server, "right")], tmp_path, 0.3)
    assert server.asked == [f"/{kind}/images.gz", "/right/images.gz"]
    assert os.listdir(tmp_path) == ["images.gz"]
    bad, good = [line for line in caplog.messages if " brought " in f" {line} "]
    assert bad.startswith(f"{kind} (http://127.0.0.1")
    assert "brought 0 of 1" in bad
    assert answer in bad
    assert good.startswith("right (")
    assert good.endswith("brought 1 of 1 files")


def test_one_error_names_every_mirror_every_answer_and_the_cure(server, tmp_path):
    closed = HttpMirror("closed", "http://127.0.0.1:9/", REMOTES)
    kinds = ["gone", "html", "wrong", "cut"]
    with pytest.raises(DownloadError) as caught:
        obtain([WANTED], [*(mirror(server, kind) for kind in kinds), closed], tmp_path / "downloads", 5.0)
    lines = str(caught.value).splitlines()
    answers = {"gone": "404", "html": "HTML", "wrong": "md5", "cut": "cut", "closed": "no connection"}
    for line, (label, answer) in zip(lines[1:6], answers.items(), strict=True):
        assert line.strip().startswith(label)
        assert answer in line
    assert str(tmp_path / "downloads") in lines[6]
    assert "DMD_DOWNLOADS" in lines[6]
    assert WANTED.name in lines[7]
    assert WANTED.digest in lines[7]
    assert os.listdir(tmp_path / "downloads") == []


def test_what_one_mirror_brings_is_not_asked_of_the_next(server, tmp_path):
    other = original("labels", b"labels")
    remotes = {**REMOTES, "labels": original("gone", b"labels")}
    first = HttpMirror("first", f"http://127.0.0.1:{server.server_port}/right/", remotes)
    second = HttpMirror("second", f"http://127.0.0.1:{server.server_port}/gone/", remotes)
    with pytest.raises(DownloadError, match="cannot get labels"):
        obtain([WANTED, other], [first, second], tmp_path, 5.0)
    assert server.asked == ["/right/images.gz", "/right/gone", "/gone/gone"]
    assert os.listdir(tmp_path) == ["images.gz"]


class Untouchable:
    name = "untouchable"

    def bring(self, wanted, folder, timeout):
        raise AssertionError("a mirror was asked though the files are there")


@pytest.mark.parametrize(("name", "content"), [("images", CONTENT), ("images.gz", gzip.compress(CONTENT, 1, mtime=7))])
def test_files_put_by_hand_are_used_without_any_mirror(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    obtain([WANTED], [Untouchable()], tmp_path, 5.0)
    place(WANTED, tmp_path, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"", HTML])
def test_wrong_files_put_by_hand_are_named_and_replaced(server, tmp_path, caplog, content):
    (tmp_path / "images").write_bytes(content)
    (tmp_path / "images.gz").write_bytes(PACKED[:-9])
    obtain([WANTED], [mirror(server, "right")], tmp_path, 5.0)
    assert find(WANTED, tmp_path) == tmp_path / "images.gz"
    assert "images is not the file" in caplog.text
    assert "images.gz is cut" in caplog.text


def test_placing_replaces_a_link_and_leaves_its_target_alone(tmp_path):
    (tmp_path / "images").write_bytes(CONTENT)
    (tmp_path / "cached").write_bytes(b"old")
    (tmp_path / "cached").chmod(0o444)
    (tmp_path / "out").symlink_to(tmp_path / "cached")
    place(WANTED, tmp_path, tmp_path / "out")
    assert (tmp_path / "cached").read_bytes() == b"old"
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert not (tmp_path / "out").is_symlink()


def test_a_digest_may_be_a_prefix_but_not_a_wrong_one(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    Original("a", "sha256", "ba7816bf").check(tmp_path / "a")  # FIPS 180-2, appendix B.1
    with pytest.raises(DownloadError, match="ba7816be"):
        Original("a", "sha256", "ba7816be").check(tmp_path / "a")


def test_the_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("DMD_DOWNLOADS", "/elsewhere")
    assert downloads_folder() == Path("/elsewhere")
    monkeypatch.setenv("DMD_DOWNLOADS", "")
    assert downloads_folder() == Path("downloads")
