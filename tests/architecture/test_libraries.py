"""Every library that is imported is declared and pinned; which module may import which is import-linter's to hold."""

import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.architecture.sources import CODE, ROOT, imports_of, python_files


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["dev"], *extras["text"]]
    names = {line.split(">")[0].lower().replace("_", "-").replace(".", "-") for line in declared}
    owners = packages_distributions()
    missing = set()
    for path in python_files(*CODE, "tests"):
        for top in {name.split(".")[0] for name in imports_of(path)} - sys.stdlib_module_names - {*CODE, "tests"}:
            if not {owner.lower().replace("_", "-").replace(".", "-") for owner in owners.get(top, [top])} & names:
                missing.add(f"{path}: {top}")
    assert not missing, f"imported, but not in pyproject.toml: {sorted(missing)}"


def test_every_library_that_is_declared_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported = {name.split(".")[0] for path in python_files(*CODE) for name in imports_of(path)}
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for top in imported for owner in owners.get(top, [])}
    used |= {"dvc", "tabulate"}  # the command line of the pipeline; what pandas writes Markdown with
    assert not {line.split(">")[0] for line in project["dependencies"]} - used


def test_every_declared_library_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    declared = sum(project["optional-dependencies"].values(), start=project["dependencies"])
    loose = [line for line in declared if line.split(">")[0].replace(".", "-") not in pinned]
    assert not loose, f"not in requirements.lock: {loose}; run `make lock`"
    assert all("==" in line for line in lines if line and not line.lstrip().startswith("#"))
