"""Files and functions stay short, and what is public is described and typed."""

import ast

import pytest

from tests.architecture.sources import CODE, ROOT, definitions, python_files, tree_of

MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
FILES = python_files(*CODE)
ROOMS = (
    *("fetch", "teacher", "pairs", "distill", "evaluate", "report"),
    *("models", "datasets", "features", "diffusion", "training", "params", "runtime", "commands", "library"),
)
FOLDERS = (
    "assets",
    "dmd",
    "docs/decisions",
    "examples",
    "metrics/mnist-small",
    "benchmarks",
    "pipelines/celeba",
    "pipelines/cifar10",
    "pipelines/mnist",
    "stages",
    "tests/architecture",
    *(f"tests/{room}" for room in ROOMS),
    *(f"dmd/{room}" for room in ROOMS),
    "stages/command",
    "tests/pipeline",
    "tests/survival",
    "tests/stages",
    "tools",
)
DOCUMENTS = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "docs/architecture.md",
    "docs/systems.md",
    "dvc.lock",
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    "requirements.lock",
)


def is_public(name: str) -> bool:
    """No leading underscore; `__call__` and its kin count as public."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def missing_annotations(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Arguments without a type, and "return"."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    stars = [star for star in (arguments.vararg, arguments.kwarg) if star is not None]
    named = [
        argument for argument in [*positional, *arguments.kwonlyargs, *stars] if argument.arg not in ("self", "cls")
    ]
    return [argument.arg for argument in named if argument.annotation is None] + ["return"] * (function.returns is None)


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_exist_and_hold_something(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    assert any((ROOT / folder).iterdir())


def test_every_file_of_the_core_has_a_room() -> None:
    assert {path.name for path in (ROOT / "dmd").glob("*.py")} == {"__init__.py", "types.py"}
    assert {path.parent.name for path in (ROOT / "dmd").glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_documents_exist_and_are_not_empty(name: str) -> None:
    assert (ROOT / name).stat().st_size > 0


@pytest.mark.parametrize("path", [*FILES, *python_files("tests")])
def test_a_file_holds_one_noun(path: str) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines < MAX_FILE_LINES, f"{path}: {lines} lines; split it by noun"


@pytest.mark.parametrize("path", FILES)
def test_functions_are_short(path: str) -> None:
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    assert not [entry for entry in lengths if entry[2] >= MAX_FUNCTION_LINES]


@pytest.mark.parametrize("path", FILES)
def test_what_is_public_has_a_docstring_and_types(path: str) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), f"{path} does not say what it holds"
    for node in definitions(tree):
        if not is_public(node.name):
            continue
        if not (node.name.startswith("__") and node.name.endswith("__")):
            assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"
        if not isinstance(node, ast.ClassDef):
            assert not missing_annotations(node), f"{path}:{node.lineno}: {node.name} {missing_annotations(node)}"


@pytest.mark.parametrize("path", [*FILES, *python_files("tests")])
def test_annotations_are_not_strings(path: str) -> None:
    futures = [node for node in tree_of(path).body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert not futures, f"{path}: shapes are checked at run time; postponed annotations would hide them"
