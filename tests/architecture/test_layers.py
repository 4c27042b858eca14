"""Imports point down."""

import graphlib
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.architecture.sources import CODE, ROOT, imports_of, module_name, python_files, within

# From the top down. A module imports its own layer and those below it. docs/architecture.md says why.
LAYERS = (
    {"distiller", "training", "sampler", "pairs", "evaluation", "scores", "report", "datasets", "teacher"}
    | {"distillation", "pictures", "curves", "tables", "run", "collapse", "chapters", "page", "card", "pieces"}
    | {"evaluator", "examples", "spread", "reference", "summaries", "latency", "noises", "neighbours"}
    | {"mnist", "cifar10", "celeba", "image_files", "placement"}
    | {"teacher_source", "archived_teacher", "hub", "weights", "feature_weights", "sources", "mirrors", "downloads"},
    {
        "learner",
        "ahead",
        "compiled",
        "precision",
        "health",
        "generator",
        "losses",
        "perceptual",
        "shift_tolerant",
        "pipeline",
        "one_step",
    }
    | {"features", "efficientnet", "inception"},
    {"denoiser", "backbones", "teapearce", "celeba_unet"},
    {"schedule", "parametrization", "rng", "checkpoint", "archives", "work", "progress", "locks", "failures"}
    | {"agreement", "layouts"},
    {"types", "sections", "bounds", "checks", "talk", "images", "needs"},
)
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
CORE = [path for path in python_files("dmd") if path != "dmd/__init__.py"]


def noun(name: str) -> str:
    """`dmd.distill.losses.regression_loss` as `losses`."""
    return name.split(".")[1]


def core_imports(path: str) -> set[str]:
    """Modules of `dmd` that a file imports, by their noun, without itself."""
    return {noun(name) for name in imports_of(path) if name.startswith("dmd.")} - {noun(module_name(path))}


@pytest.mark.parametrize("path", [path for path in CORE if path != "dmd/params/config.py"])
def test_a_module_has_a_layer_and_imports_only_downwards(path: str) -> None:
    name = noun(module_name(path))
    assert name in DEPTH, f"{path} has no layer; give it one in LAYERS and in docs/architecture.md"
    upwards = {other for other in core_imports(path) if other != "config" and DEPTH.get(other, -1) < DEPTH[name]}
    assert not upwards, f"{path} imports from a higher layer: {sorted(upwards)}"


def test_no_module_imports_itself_through_others() -> None:
    graph: dict[str, set[str]] = {}
    for path in CORE:
        graph.setdefault(noun(module_name(path)), set()).update(core_imports(path))
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, naming the cycle
    assert set(graph) <= set(order)


@pytest.mark.parametrize("path", CORE)
def test_the_core_knows_nothing_of_what_stands_above_it(path: str) -> None:
    above = ("dvc", "dvclive", "typer", "stages", "tools", "tests")
    found = [name for name in imports_of(path) if any(within(name, package) for package in above)]
    assert not found, f"{path} imports {found}"


@pytest.mark.parametrize("path", [path for path in CORE if path != "dmd/params/config.py"])
def test_only_stages_and_tools_read_the_config(path: str) -> None:
    assert "config" not in core_imports(path), f"{path} imports dmd.params.config; take plain arguments"


@pytest.mark.parametrize("path", python_files("stages"))
def test_a_stage_imports_no_other_stage_and_no_tool(path: str) -> None:
    allowed = {"stages.command.cli", "stages.command.edits", "stages.live"}  # what stages share
    found = {".".join(name.split(".")[:2]) for name in imports_of(path) if name.split(".")[0] in ("stages", "tools")}
    assert found <= allowed, f"{path} imports {sorted(found - allowed)}"


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {line.split(">")[0].lower().replace("_", "-").replace(".", "-") for line in declared}
    owners = packages_distributions()
    missing = set()
    for path in python_files(*CODE, "tests"):
        for top in {name.split(".")[0] for name in imports_of(path)} - sys.stdlib_module_names - {*CODE, "tests"}:
            if not {owner.lower().replace("_", "-").replace(".", "-") for owner in owners.get(top, [])} & names:
                missing.add(f"{path}: {top}")
    assert not missing, f"imported, but not in pyproject.toml: {sorted(missing)}"


def test_every_library_that_is_declared_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported = {name.split(".")[0] for path in python_files(*CODE) for name in imports_of(path)}
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for top in imported for owner in owners.get(top, [])} | {"dvc"}
    assert not {line.split(">")[0] for line in project["dependencies"]} - used


def test_every_declared_library_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    loose = [line for line in declared if line.split(">")[0].replace(".", "-") not in pinned]
    assert not loose, f"not in requirements.lock: {loose}; run `make lock`"
    assert all("==" in line for line in lines if line and not line.lstrip().startswith("#"))
