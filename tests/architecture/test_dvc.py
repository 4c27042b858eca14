"""dvc.yaml says what the stages do: their code, their params, their names."""

import ast
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
import yaml

from dmd.params.config import Config
from tests.architecture.sources import ROOT, dotted, python_files, tree_of

TEXT = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
STAGES = yaml.safe_load(TEXT)["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
ORDER = ["fetch", "teacher", "pairs", "distill", "evaluate", "report"]
PLACE = {"system", "root", "file"}  # where a system lives, not what it is: no stage's result depends on them


def imported_files(entry: Path, root: Path) -> set[str]:
    """Files under `root` that `entry` imports, read off the compiled bytecode by the standard library."""
    outputs = [path.name for path in root.glob("*/") if not (path / "__init__.py").is_file()]
    finder = ModuleFinder(path=[str(root)], excludes=outputs)  # on no other path, so that libraries are not followed
    finder.run_script(str(entry))
    files = (Path(module.__file__).relative_to(root) for module in finder.modules.values() if module.__file__)
    return {path.as_posix() for path in files} | {f"{entry.parent.name}/__init__.py"}


def declared_params(stage: str) -> list[str]:
    """Keys of the params file that a stage of dvc.yaml depends on."""
    return [key for entry in STAGES[stage]["params"] for key in entry["${file}"]]


def dumped_keys(call: ast.Call) -> set[str]:
    """What `config.model_dump(include={…})` reads; all of the params without `include`."""
    kept = [ast.literal_eval(item.value) for item in call.keywords if item.arg == "include"]
    return set(kept[0]) if kept else set(PARAMS)


def config_keys(path: str) -> set[str]:
    """Keys of the params file that a stage's module reads: the longest chains `config.a.b`, and dumps of the config."""
    nodes = list(ast.walk(tree_of(path)))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    inner = {id(node.value) for node in attributes}
    chains = {dotted(node) for node in attributes if id(node) not in inner}
    keys = {chain.removeprefix("config.").partition("model_dump")[0] for chain in chains if chain.startswith("config.")}
    dumps = [node for node in nodes if isinstance(node, ast.Call) and dotted(node.func) == "config.model_dump"]
    return keys.union(*map(dumped_keys, dumps)) - {""} - PLACE


def room(file: str) -> str:
    """What dvc.yaml names of a file that a stage loads: its folder in dmd/ or stages/, else the file itself."""
    parts = file.split("/")
    return "/".join(parts[:2]) if len(parts) > 2 else file


def is_code(dependency: str) -> bool:
    """Whether a dependency of dvc.yaml is code."""
    return dependency.split("/")[0] in ("dmd", "stages")


@pytest.mark.parametrize("stage", ORDER)
def test_code_dependencies_are_the_rooms_of_what_the_stage_loads(stage: str) -> None:
    loaded = {room(file) for file in imported_files(ROOT / "stages" / f"{stage}.py", ROOT)}
    declared = [dependency for dependency in STAGES[stage]["deps"] if is_code(dependency)]
    assert declared == [f"stages/{stage}.py", *sorted(loaded - {f"stages/{stage}.py"})]


def test_a_chain_of_imports_is_followed_into_functions_and_rooms(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "dmd" / "sub").mkdir(parents=True)
    (tmp_path / "dmd" / "other").mkdir()
    (tmp_path / "torch").mkdir()  # what a run leaves is no code, though it has a library's name, as dvclive/
    files = {
        "stages/__init__.py": "",
        "stages/one.py": "import json\nfrom dmd import a\n\ndef late():\n    from dmd.sub.b import B\n",
        "dmd/__init__.py": "",
        "dmd/a.py": "import dmd.c as c, torch\n",
        "dmd/c.py": "",
        "dmd/sub/__init__.py": "",
        "dmd/sub/b.py": "class B: pass\n",
        "dmd/other/__init__.py": "",
        "dmd/other/unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    loaded = imported_files(tmp_path / "stages" / "one.py", tmp_path)
    assert {room(file) for file in loaded} == {
        "stages/__init__.py",
        "stages/one.py",
        "dmd/__init__.py",
        "dmd/a.py",
        "dmd/c.py",
        "dmd/sub",
    }


def test_folders_of_code_go_stale_by_code_alone() -> None:
    ignored = (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()
    assert {"__pycache__", "*.pyc", ".DS_Store", ".*.sw?", "*~", ".#*", ".ipynb_checkpoints"} <= set(ignored)


def test_stage_names_are_modules_and_params_sections() -> None:
    assert list(STAGES) == ORDER
    commands = [path for path in python_files("stages") if '__name__ == "__main__"' in (ROOT / path).read_text("utf-8")]
    assert sorted(Path(path).stem for path in commands) == sorted(ORDER)
    sections = {name for name, value in PARAMS.items() if isinstance(value, dict)}
    assert sections - {"report"} == {"dataset", *ORDER} - {"report"}
    for stage in ORDER:
        assert STAGES[stage]["cmd"] == f"python -m stages.{stage} ${{file}}"
        assert STAGES[stage]["wdir"] == "${root}"
        assert stage == "report" or any(key.split(".")[0] == stage for key in declared_params(stage))


@pytest.mark.parametrize("stage", ORDER)
def test_a_stage_depends_on_every_param_that_it_reads(stage: str) -> None:
    keys = {key for key in config_keys(f"stages/{stage}.py") if key.split(".")[0] in Config.model_fields}
    hidden = {key for key in keys if not any(f"{key}.".startswith(f"{known}.") for known in declared_params(stage))}
    assert not hidden, f"stages/{stage}.py reads {sorted(hidden)}, which dvc.yaml does not name"


def test_the_report_depends_on_every_param() -> None:
    assert set(declared_params("report")) == set(PARAMS) - PLACE


def test_only_the_report_owns_files_that_git_keeps() -> None:
    for stage, entry in STAGES.items():
        for out in entry["outs"]:
            path, options = (out, {}) if isinstance(out, str) else next(iter(out.items()))
            assert path.startswith("metrics/") == (options.get("cache") is False), path
            assert stage == "report" or options.get("cache") is not False, path


def test_every_system_has_the_same_pipeline_and_knows_its_place() -> None:
    for path in [ROOT / "dvc.yaml", *ROOT.glob("pipelines/*/dvc.yaml")]:
        folder = path.parent.relative_to(ROOT)
        params = yaml.safe_load((path.parent / "params.yaml").read_text(encoding="utf-8"))
        assert path.read_text(encoding="utf-8") == TEXT, f"{path} differs from the root's"
        assert params["file"] == (folder / "params.yaml").as_posix()
        assert params["root"] == "/".join([".."] * len(folder.parts) or ["."])
        assert folder.parts in ((), ("pipelines", params["system"]))


@pytest.mark.parametrize("path", sorted(ROOT.glob("pipelines/*/params.yaml")), ids=lambda path: path.parent.name)
def test_every_system_has_the_params_that_a_stage_depends_on(path: Path) -> None:
    """DVC refuses to lock a stage one of whose keys the file lacks; null will do."""
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in sorted({key for stage in ORDER for key in declared_params(stage)}):
        place = params
        for part in key.split("."):
            assert part in place, f"{path}: {key} is missing"
            place = place[part]
