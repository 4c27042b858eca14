"""What the tests of remotes share: a tiny repository with locked outputs, servers on loopback, the way and back."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from dmd.runtime.files import file_sha256

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("dvc.yaml", "params.yaml", ".dvc/config", ".dvcignore", ".gitignore", "stages", "dmd", "assets")
TABLES = "docs/results/data/tables"
"""What stages name as dependencies, with TABLES, and what DVC needs."""

PATIENCE = 60
"""Seconds that a server may take to answer."""


def run(folder: Path, *command: str) -> str:
    """The output of a command in `folder`; it must exit with 0. No settings of the user's are read.

    It goes to a file: a pipe would be waited for as long as processes that the command leaves behind hold it.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"HOME": str(folder.parent), "PATH": path, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(
            command, cwd=folder, env={**os.environ, **own}, stdout=output, stderr=output, check=False, timeout=600
        )
        output.seek(0)
        said = output.read()
    assert result.returncode == 0, f"{' '.join(command)}\n{said[-6000:]}"
    return said


def commit(folder: Path, message: str) -> None:
    """Commit all changes."""
    run(folder, "git", "add", "-A")
    run(folder, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qm", message)


def make_repository(folder: Path) -> Path:
    """A repository with this project's pipeline, whose outputs were put there by hand and committed to DVC."""
    for name in (*PARTS, TABLES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, folder / name)
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    system = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["system"]
    entries = [entry for stage in stages.values() for entry in stage["outs"] + stage["deps"]]
    for entry in entries:
        name = (entry if isinstance(entry, str) else next(iter(entry))).replace("${system}", system)
        path = folder / name
        if not path.exists():
            path = path if path.suffix else path / "bytes"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode() * 100)
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "commit", "--force", "dvc.yaml")
    commit(folder, "outputs")
    return folder


def keep_secrets(folder: Path, secrets: Mapping[str, str]) -> None:
    """Write settings of the remote into the file of DVC's that git ignores."""
    for name, value in secrets.items():
        run(folder, "dvc", "remote", "modify", "--local", "storage", name, value)


def there_and_back(origin: Path, url: str, settings: Mapping[str, str], secrets: Mapping[str, str]) -> Path:
    """Push `origin`'s outputs to the remote at `url`, clone, pull, and reproduce the clone from its cache; the clone.

    `settings` go into git with the remote's address, `secrets` into the file of DVC's that git ignores.
    """
    run(origin, "dvc", "remote", "add", "--default", "storage", url)
    for name, value in settings.items():
        run(origin, "dvc", "remote", "modify", "storage", name, value)
    keep_secrets(origin, secrets)
    commit(origin, "a remote")
    run(origin, "dvc", "push", "--run-cache", "dvc.yaml")

    clone = origin.with_name("clone")
    run(origin.parent, "git", "clone", "-q", str(origin), str(clone))
    assert not (clone / "data").exists()
    keep_secrets(clone, secrets)
    run(clone, "dvc", "pull", "--run-cache", "dvc.yaml")
    assert tree(clone) == tree(origin)
    said = run(clone, "dvc", "repro", "dvc.yaml")
    assert "Running stage" not in said
    assert "Data and pipelines are up to date" in said
    return clone


def check_an_experiment_travels(origin: Path, secrets: Mapping[str, str]) -> None:
    """Save an experiment in a clone of `origin`, push it there, and take it up in another clone, by the remote."""
    mine, other = (origin.with_name(name) for name in ("mine", "other"))
    for clone in (mine, other):
        run(origin.parent, "git", "clone", "-q", str(origin), str(clone))
        keep_secrets(clone, secrets)
    for name, value in {"user.name": "test", "user.email": "test@localhost"}.items():
        run(mine, "git", "config", name, value)
    run(mine, "dvc", "pull", "dvc.yaml")
    weights, params = Path("models/mnist-small/generator/bytes"), (mine / "params.yaml").read_text("utf-8")
    (mine / weights).write_bytes(b"of another seed")
    (mine / "params.yaml").write_text(params.replace("seed: 0", "seed: 1"), encoding="utf-8")
    run(mine, "dvc", "commit", "--force", "dvc.yaml")
    run(mine, "dvc", "exp", "save", "--name", "seed-1")
    run(mine, "dvc", "exp", "push", "origin", "seed-1")

    run(other, "dvc", "exp", "pull", "origin", "seed-1")
    run(other, "dvc", "exp", "branch", "seed-1", "another")
    run(other, "git", "checkout", "-q", "another")
    run(other, "dvc", "checkout", "dvc.yaml")
    assert (other / weights).read_bytes() == b"of another seed" != (origin / weights).read_bytes()
    assert tree(other) == tree(mine)
    assert "seed: 1" in (other / "params.yaml").read_text(encoding="utf-8")


def check_reproduces_from_the_cache(origin: Path, clone: Path) -> None:
    """With neither outputs nor lock, `dvc repro` finds every stage in what was pulled, and runs none."""
    for name in ("data", "models"):
        shutil.rmtree(clone / name)
    (clone / "dvc.lock").unlink()
    said = run(clone, "dvc", "repro", "evaluate")
    assert "Running stage" not in said
    for stage in ("fetch", "teacher", "pairs", "distill", "evaluate"):
        assert f"Stage '{stage}' is cached - skipping run, checking out outputs" in said
    before, after = (tree(folder) for folder in (origin, clone))
    cards = {name for name in before if name.endswith("card/README.md")}  # the report's, which was not asked for
    assert after == {name: digest for name, digest in before.items() if name not in cards}


def tree(folder: Path) -> dict[str, str]:
    """A hash of each file of DVC's outputs, but for those that git keeps."""
    paths = [path for name in ("data", "models") for path in (folder / name).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}


def check_tells_nothing(folder: Path, secrets: Mapping[str, str]) -> None:
    """No secret is in any version of any file that git has, and none of the lock's paths is absolute."""
    history = run(folder, "git", "log", "--all", "-p")
    for value in secrets.values():
        assert value not in history
    lock = (folder / "dvc.lock").read_text(encoding="utf-8")
    assert str(folder.parent) not in lock
    for value in secrets.values():
        assert value in (folder / ".dvc" / "config.local").read_text(encoding="utf-8")


@contextmanager
def serve(command: list[str], port: int) -> Iterator[None]:
    """Run a server while the block runs, from the moment that it takes connections on `port` of loopback."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            deadline = time.monotonic() + PATIENCE
            while not _answers(port):
                assert server.poll() is None, server.stderr and server.stderr.read()[-2000:]
                assert time.monotonic() < deadline, f"{command[0]} does not answer"
                time.sleep(0.1)
            yield
        finally:
            server.terminate()


def free_port() -> int:
    """A port of loopback that no one listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
