"""The package, the Makefile and CI agree on the versions of Python."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.architecture.sources import ROOT


def versions() -> list[str]:
    """Those of the Makefile, the newest first."""
    (line,) = re.findall(r"^PYTHONS := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return line.split()


def test_the_package_takes_the_versions_that_make_looks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    low, high = (int(minor) for minor in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())
    assert versions() == [f"3.{minor}" for minor in range(high - 1, low - 1, -1)]


def test_ci_runs_all_of_them() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["check"]["strategy"]["matrix"]["python"] == versions()


def test_the_lock_is_made_with_the_oldest() -> None:
    assert f"pip-compile with Python {versions()[-1]}\n" in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def make(folder: Path, works: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """`make` where the interpreters of these versions work and the others are names that do not."""
    for version in versions():
        script = folder / f"python{version}"
        script.write_text(f"#!/bin/sh\nexit {0 if version in works else 127}\n")
        script.chmod(0o755)
    for name in ("pyproject.toml", "requirements.lock"):
        (folder / name).touch()
    (folder / "Makefile").write_text(f"include {ROOT / 'Makefile'}\nshow:\n\t@echo chosen: $(PYTHON)\n")
    outer = ("PYTHON", "MAKE", "MFLAGS")  # what a `make test` that runs this says to makes below it
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
    environment["PATH"] = f"{folder}:/usr/bin:/bin"
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_make_takes_the_newest_that_works(tmp_path: Path) -> None:
    assert make(tmp_path, ("3.11", "3.12"), "show").stdout == "chosen: python3.12\n"
    assert make(tmp_path, ("3.11", "3.12"), "show", "PYTHON=mine").stdout == "chosen: mine\n"


@pytest.mark.parametrize(("named", "why"), [((), "none was found"), (("PYTHON=python3.10",), "'python3.10' is not")])
def test_make_says_which_python_it_needs(tmp_path: Path, named: tuple[str, ...], why: str) -> None:
    (tmp_path / "python3.10").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.10").chmod(0o755)
    done = make(tmp_path, (), "setup", *named)
    assert done.returncode
    assert f"one of Python {' '.join(versions())} is needed, and {why}; name one: make PYTHON=" in done.stderr
    assert not (tmp_path / ".venv").exists()
