"""Git changes no byte of a file, whatever a clone's settings: hashes of sources and assets hold everywhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"a = 1\nb = 2\r\nc = 3\n"


def git(folder: Path, *arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return ran.stdout


@pytest.mark.parametrize("autocrlf", ["true", "input"])
def test_a_clone_has_the_bytes_that_were_committed(autocrlf: str, tmp_path: Path) -> None:
    there, clone = tmp_path / "there", tmp_path / "clone"
    there.mkdir()
    shutil.copy(ROOT / ".gitattributes", there)
    for name in ("stage.py", "params.yaml", "assets.csv"):
        (there / name).write_bytes(CONTENT)
    git(there, "init", "-q")
    git(there, "config", "user.name", "a test")
    git(there, "config", "user.email", "a@test")
    git(there, "config", "core.autocrlf", autocrlf)
    git(there, "add", "-A")
    git(there, "commit", "-qm", "Add files")
    git(tmp_path, "clone", "-q", "-c", f"core.autocrlf={autocrlf}", "there", "clone")
    for name in ("stage.py", "params.yaml", "assets.csv"):
        assert (clone / name).read_bytes() == CONTENT
    assert git(clone, "status", "--porcelain") == ""
