"""The program `dmd`: what it lists, that its help and examples hold, and how it says what is wrong."""

import ast
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from dmd.commands.app import COMMANDS, GROUPS, app, guarded
from tests.architecture.sources import python_files, tree_of

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["draw", "recipe", "runs", "compare", "methods", "sweep", "steps", "timesteps", "spread", "export", "publish"]
PAIRS = ["demo build", "demo serve"]
HEAVY = {"torch", "pandas", "scipy", "diffusers", "accelerate", "dvc", "matplotlib", "pydantic", "onnxruntime"}
MISSING = {
    "draw": ("models/mnist-small/generator", "distill", ["params.yaml", "x.png"]),
    "sweep": ("data/mnist-small/pairs", "pairs", ["params.yaml", "table.csv", "--axis", "alpha=1"]),
    "steps": ("models/mnist-small/teacher", "teacher", ["params.yaml", "table.csv"]),
    "timesteps": ("models/mnist-small/teacher", "teacher", ["params.yaml", "table.csv"]),
    "spread": ("models/mnist-small/generator", "distill", ["params.yaml", "table.csv"]),
    "export": ("models/mnist-small/generator", "distill", ["models/mnist-small/generator", "x.onnx"]),
    "publish": ("models/mnist-small/generator", "report", ["org/name"]),
    "demo": ("models/mnist-small/teacher", "teacher", ["build", "mnist-small"]),
}


def call(*arguments: str) -> Any:
    """The result of `dmd` with these arguments."""
    return CliRunner().invoke(app, arguments)


def sentence(result: Any) -> str:
    """What a command says from `error:` on, below warnings of libraries; not a traceback."""
    assert "Traceback" not in result.output
    return result.output[result.output.index("error: ") :]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the shipped params and nothing that a stage wrote."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_console_script_lists_every_command(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("dmd")
    assert script.is_file(), "run `make setup`"
    done = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    listed = dict(re.findall(r"^  (\w+)  +(\S.*)$", done.stdout.partition("Commands:")[2], re.MULTILINE))
    assert [command.__name__ for command in COMMANDS] == NAMES
    assert [f"{name} {command.__name__}" for name, (_, commands) in GROUPS.items() for command in commands] == PAIRS
    assert list(listed) == [*NAMES, *GROUPS]
    assert not [text for text in listed.values() if text.endswith("...")], "a first sentence is too long for the list"


def test_no_command_is_forgotten() -> None:
    functions = {
        (Path(path).stem, node.name)
        for path in python_files("dmd/commands")
        for node in tree_of(path).body
        if isinstance(node, ast.FunctionDef)
    }
    assert {name for file, name in functions if file == name} == set(NAMES)


def test_the_list_is_quick_since_it_loads_nothing_heavy() -> None:
    code = "import sys; from dmd.commands.app import app; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "typer" in done.stdout.split()
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("name", [*NAMES, *PAIRS])
def test_help_says_what_is_read_and_written_with_an_example_that_parses(name: str) -> None:
    words = name.split()
    result = call(*words, "--help")
    assert result.exit_code == 0, result.output
    lines = dict(re.findall(r"^  (Reads|Writes|Example) +(.+)$", result.output, re.MULTILINE))
    assert set(lines) == {"Reads", "Writes", "Example"}
    program, *arguments = shlex.split(lines["Example"])
    assert [program, *arguments[: len(words)]] == ["dmd", *words]
    command: Any = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    assert command.make_context(name, arguments[len(words) :]).params


@pytest.mark.parametrize("name", ["sweep", "steps", "timesteps", "spread"])
@pytest.mark.parametrize("text", [None, "- a list", "system: [x"])
def test_a_params_file_that_is_none_is_named_in_one_line(folder: Path, name: str, text: str | None) -> None:
    if text is not None:
        (folder / "other.yaml").write_text(text, encoding="utf-8")
    result = call(name, "other.yaml", "table.csv", *(["--axis", "alpha=1"] if name == "sweep" else []))
    assert result.exit_code == 1
    assert sentence(result).startswith("error: other.yaml: ")
    assert text == "system: [x" or sentence(result).count("\n") == 1
    assert not Path("table.csv").exists()


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.usefixtures("folder")
def test_a_stage_that_has_not_run_is_named(name: str) -> None:
    place, stage, arguments = MISSING[name]
    result = call(name, *arguments)
    assert result.exit_code == 1
    assert sentence(result).startswith(f"error: {place} is not there; run the pipeline up to the stage `{stage}`")
    assert sentence(result).count("\n") == 1


@pytest.mark.usefixtures("folder")
def test_numbers_and_rows_that_are_none_are_refused_before_anything_is_read() -> None:
    result = call("timesteps", "params.yaml", "table.csv", "--timesteps", "200,x")
    assert (result.exit_code, "--timesteps '200,x': whole numbers" in result.output) == (2, True)
    result = call("steps", "params.yaml", "table.csv", "--row", "ddim ten")
    assert (result.exit_code, "ddim ten" in result.output) == (2, True)


def test_a_mistake_in_the_code_is_not_hidden() -> None:
    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        guarded(broken)()


@pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_commands_keep_freed_memory_as_stages_do() -> None:
    """The second of two equal arrays, the first freed, is not paged in anew: the kernel counts the faults."""
    code = """
import resource
import numpy as np
from dmd.commands.app import guarded

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

guarded(lambda: print(faults(), faults()))()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert second < first / 4
