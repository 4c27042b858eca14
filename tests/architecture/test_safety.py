"""No code is run from a file, no library fetches unseen, and nothing of one machine is written down."""

import ast
import re

import pytest

from tests.architecture.sources import CODE, ROOT, dotted, imports_of, python_files, repository_files, tree_of, within

FILES = python_files(*CODE, "tests")
PICKLES = ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
NETWORK_CALLS = ("torch.hub", "torchvision.datasets")
# Written in pieces, so that this file does not hold what it looks for.
MACHINE = [rf"(?<![\w.$}}])/{name}/" for name in ("work", "farm", "root", "home", "Users")] + [r"/\.lib" + r"rary\b"]
HOSTS = [
    re.escape(host.replace(" ", ".")) for host in ("registry npmjs", "pypi org", "files pythonhosted", "deb debian")
]


def calls(path: str) -> list[tuple[str, ast.Call]]:
    """Every call of a file, with its dotted name."""
    return [(dotted(node.func), node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> object:
    """Literal value of a keyword argument, or none."""
    values = [item.value for item in call.keywords if item.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


@pytest.mark.parametrize("path", FILES)
def test_no_pickle_is_read_or_written(path: str) -> None:
    assert not [name for name in imports_of(path) if any(within(name, package) for package in PICKLES)]
    for name, call in calls(path):
        where = f"{path}:{call.lineno}: {name}"
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, f"{where} without weights_only=True"
        assert keyword(call, "allow_pickle") is not True, where
        assert name != "torch.save" or path.startswith("tests/"), f"{where} writes a pickle; use safetensors"
        assert name not in ("pandas.read_pickle", "pd.read_pickle"), where


@pytest.mark.parametrize("path", python_files(*CODE))
def test_torch_load_is_called_by_its_full_name(path: str) -> None:
    assert "torch.load" not in imports_of(path), f"{path}: write `import torch` and `torch.load(…, weights_only=True)`"


@pytest.mark.parametrize("path", [path for path in python_files(*CODE) if not path.startswith("dmd/fetch/")])
def test_no_library_fetches_for_a_stage_but_fetch(path: str) -> None:
    """What a module imports is import-linter's to hold; these are reached as attributes of what all import."""
    chains = {dotted(node) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
    found = [name for name in chains | imports_of(path) if any(within(name, package) for package in NETWORK_CALLS)]
    assert not found, f"{path} uses {sorted(found)}; bytes come through stages/fetch.py"


def test_the_report_takes_classes_of_the_hubs_library_and_nothing_that_asks_it() -> None:
    names = {name for path in python_files("dmd/report") for name in imports_of(path)}
    taken = {name for name in names if within(name, "huggingface_hub")}
    assert taken == {"huggingface_hub.EvalResult", "huggingface_hub.ModelCardData"}


def test_no_path_of_one_machine_and_no_registry_host() -> None:
    pattern = re.compile("|".join([*MACHINE, *HOSTS]))
    found = []
    for name in repository_files():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match.group()}" for match in pattern.finditer(text)]
    assert not found


def test_data_models_and_environment_are_ignored_by_name() -> None:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/data/", "/models/", "/downloads/", "/.work/", "/.venv/"} <= set(lines)
