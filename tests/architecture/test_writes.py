"""Outputs are replaced, never written in place: they may be links to DVC's cache, or share its bytes."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {"write_text", "write_bytes", "to_csv", "copyfile", "copy", "touch"}
WHOLE = {"whole_file", "whole_folder"}

NOT_IN_PLACE = {
    "dmd/runtime/files.py": {"whole_file"},
    # They fill a folder that `whole_folder` puts in place for their caller.
    "dmd/datasets/cifar10.py": {"rebuild"},
    "dmd/datasets/pairs.py": {"write_shards"},
    "dmd/distill/loop.py": {"save"},
    "dmd/evaluate/examples.py": {"write_examples"},
    "dmd/evaluate/snapshots.py": {"write_curve"},
    "dmd/fetch/features.py": {"fill"},
    "dmd/fetch/teacher.py": {"fill", "_place_weights", "_place_text"},
    "dmd/models/pipeline.py": {"_add_code"},
    "dmd/models/text.py": {"copy_text"},
    # No outputs of DVC's: downloads, locks, marks.
    "dmd/fetch/archives.py": set(),
    "dmd/fetch/downloads.py": set(),
    "dmd/fetch/mirrors.py": set(),
    "dmd/runtime/locks.py": {"take"},
    "dmd/runtime/work_folder.py": {"keep_alone"},
}
"""Functions that write to a name, by file; an empty set stands for all of the file's."""


def is_write(call: ast.Call) -> bool:
    """Whether it opens, makes or fills a file by name."""
    if not isinstance(call.func, ast.Attribute):
        return isinstance(call.func, ast.Name) and call.func.id == "open"
    modes = [value.value for value in call.args if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    if call.func.attr == "open":
        return any(set(mode) & set("wax+") and set(mode) <= set("rwaxbt+") for mode in modes)
    on_array = call.func.attr == "copy" and not call.args
    return call.func.attr in WRITERS and not on_array


def writes(node: ast.AST, function: str = "") -> Iterator[str]:
    """The innermost function of every write that is not within `with whole_…`."""
    if isinstance(node, ast.FunctionDef):
        function = node.name
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        if any(isinstance(call.func, ast.Name) and call.func.id in WHOLE for call in calls):
            return
    if isinstance(node, ast.Call) and is_write(node):
        yield function
    for child in ast.iter_child_nodes(node):
        yield from writes(child, function)


def in_place(path: Path) -> set[str]:
    found = set(writes(ast.parse(path.read_text(encoding="utf-8"))))
    return found - NOT_IN_PLACE.get(path.relative_to(ROOT).as_posix(), set())


def test_no_output_is_written_in_place() -> None:
    files = [path for room in ("dmd", "stages") for path in (ROOT / room).rglob("*.py")]
    free = {name for name, functions in NOT_IN_PLACE.items() if not functions}
    paths = [path for path in files if path.relative_to(ROOT).as_posix() not in free and "commands" not in path.parts]
    assert {str(path): found for path in paths if (found := in_place(path))} == {}


def test_a_write_in_place_is_found() -> None:
    code = """
def report(folder):
    with whole_file(folder / "a") as out:
        out.write_text("1")
    with whole_folder(folder) as part, open_more():
        table.to_csv(part / "a.csv")
    path.open("rb"); array.copy(); other.open("r")
    {}
"""
    for line in ('(folder / "b").write_text("2")', "shutil.copyfile(a, b)", 'path.open("ab")', 'open("b", "w")'):
        assert list(writes(ast.parse(code.format(line)))) == ["report"], line
    assert list(writes(ast.parse(code.format("pass")))) == []
