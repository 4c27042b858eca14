"""The Hub's own client against a Hub on loopback: what is right is kept, what is wrong is named and not kept."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.fetch.loopback_hub import serve

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"a": 1}', "unet/model.safetensors": bytes(range(256)) * 200, "README.md": b"# not wanted"}
WANTED = ["config.json", "unet/model.safetensors", "absent.json"]
SCRIPT = """
import json, sys
from dmd.fetch.downloads import DownloadError
from dmd.fetch.hub import snapshot
try:
    folder = snapshot(*json.loads(sys.argv[1]), 5.0)
    print(json.dumps(str(folder)))
except DownloadError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    for name, content in FILES.items():
        path = tmp_path / "hub" / "someone/digits" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with serve(tmp_path / "hub") as running:
        running.home, running.endpoint = tmp_path / "home", f"http://127.0.0.1:{running.server_port}"
        yield running


def ask(hub: ThreadingHTTPServer, name: str = "someone/digits", revision: str | None = COMMIT, **environment: str):
    """The exit code, the folder (or none) and what the client said."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(hub.home), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", SCRIPT, json.dumps([name, revision, WANTED])]
    done = subprocess.run(command, cwd=ROOT, env={**kept, **settings, **environment}, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, Path(json.loads(done.stdout)) if done.stdout else None, done.stderr


def blobs(hub: ThreadingHTTPServer) -> set[str]:
    return {path.name for path in hub.home.rglob("blobs/*")}


def test_the_named_files_come_and_no_others_and_are_not_asked_for_twice(hub: ThreadingHTTPServer) -> None:
    code, folder, said = ask(hub)
    assert code == 0, said
    assert folder.name == COMMIT
    assert hub.home in folder.parents
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {name: FILES[name] for name in WANTED[:2]}
    hub.asked.clear()
    assert ask(hub)[:2] == (0, folder)
    assert hub.asked == []
    hub.shutdown()
    assert ask(hub, HF_HUB_OFFLINE="1")[:2] == (0, folder)


def test_without_a_revision_the_newest_commit_is_taken_and_named(hub: ThreadingHTTPServer) -> None:
    code, folder, said = ask(hub, revision=None)
    assert code == 0, said
    assert folder.name == COMMIT


def test_a_cut_download_goes_on_where_it_was_cut(hub: ThreadingHTTPServer) -> None:
    """The client keeps what it has in pieces of 10 MiB."""
    content = bytes(range(256)) * (12 << 12)
    (hub.root / "someone/digits" / COMMIT / "unet/model.safetensors").write_bytes(content)
    hub.cuts["unet/model.safetensors"] = 11 << 20
    code, folder, said = ask(hub)
    assert code == 0, said
    assert (folder / "unet/model.safetensors").read_bytes() == content
    ranges = [span for command, path, span in hub.asked if command == "GET" and path.endswith("model.safetensors")]
    assert ranges == [None, f"bytes={10 << 20}-"]


@pytest.mark.parametrize("name", ["config.json", "unet/model.safetensors"])
def test_bytes_of_another_hash_are_refused_and_removed(hub: ThreadingHTTPServer, name: str) -> None:
    hub.instead[name] = FILES[name][:-1] + b"?"  # of the right length, which is all that the client compares
    code, _, said = ask(hub)
    assert code == 1
    assert f"refused: {Path(name).name} is not the file that the hub names" in said
    assert len(blobs(hub)) == 1
    hub.instead.clear()
    code, folder, said = ask(hub)
    assert code == 0, said
    assert (folder / name).read_bytes() == FILES[name]


@pytest.mark.parametrize(
    ("name", "revision", "answer"),
    [
        ("someone/digits", "f" * 40, f"teacher.revision '{'f' * 40}': the hub has no such commit of someone/digits"),
        ("someone/letters", COMMIT, "teacher.source 'someone/letters': the hub has no such repository"),
        ("someone/letters", None, "teacher.source 'someone/letters': the hub has no such repository"),
    ],
)
def test_what_the_hub_lacks_is_named(hub: ThreadingHTTPServer, name: str, revision: str | None, answer: str) -> None:
    code, _, said = ask(hub, name, revision)
    assert code == 1
    assert f"refused: {answer}" in said
    assert blobs(hub) == set()


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param(
            {"HF_ENDPOINT": "http://127.0.0.1:9"}, marks=pytest.mark.slow
        ),  # the client tries for half a minute
        {"HF_HUB_OFFLINE": "1"},
    ],
)
def test_no_network_is_said_so(hub: ThreadingHTTPServer, environment: dict[str, str]) -> None:
    code, _, said = ask(hub, **environment)
    assert code == 1
    assert "refused: teacher.source 'someone/digits': the hub did not serve it" in said
    assert hub.asked == []
