"""Keep each stage's code dependencies in dvc.yaml equal to the import closure of its module.

    python -m tools.dvc_deps            # write
    python -m tools.dvc_deps --check    # only compare; exit code 1 where they differ

A stage must run again when, and only when, code that it imports changes. So its `deps` name single files: the module
`stages/<name>.py`, and every file under `dmd/` and `stages/` that it imports, directly or through others, at the top of
a file or inside a function. Dependencies on data stay as they are. Each `pipelines/<system>/dvc.yaml` is a copy.
"""

import ast
import io
from pathlib import Path
from typing import Annotated

import typer
from ruamel.yaml import YAML

PACKAGES = ("dmd", "stages")
ROOT = Path(__file__).resolve().parent.parent

app = typer.Typer(add_completion=False)


def module_file(root: Path, name: str) -> Path | None:
    """File of a dotted module name under `root`, or none: it belongs to a library, or names a function or class."""
    base = root.joinpath(*name.split("."))
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def imported_names(tree: ast.AST, package: str) -> set[str]:
    """Dotted names of all that a module imports, each with its parent packages; `package` resolves relative imports.

    `from a import b` yields both `a` and `a.b`: whether `b` is a module shows when a file of that name is looked up.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names.add(origin)
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return {".".join(parts[:end]) for parts in (name.split(".") for name in names) for end in range(1, len(parts) + 1)}


def import_closure(root: Path, entry: Path) -> list[str]:
    """Files of `PACKAGES` that importing `entry` needs, itself first, the others sorted; paths relative to `root`.

    Raises:
        ValueError: `entry` does not exist.
    """
    if not entry.is_file():
        raise ValueError(f"{entry.relative_to(root)} does not exist, but dvc.yaml has a stage of that name")
    found, pending = set(), [entry]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        package = ".".join(path.relative_to(root).parent.parts)
        names = imported_names(ast.parse(path.read_text(encoding="utf-8"), str(path)), package) | {package}
        files = (module_file(root, name) for name in names if name.split(".")[0] in PACKAGES)
        pending.extend(file for file in files if file is not None)
    return [path.relative_to(root).as_posix() for path in (entry, *sorted(found - {entry}))]


def is_code(dependency: str) -> bool:
    """Whether a dependency is a Python file of `PACKAGES`."""
    return dependency.endswith(".py") and dependency.split("/")[0] in PACKAGES


def with_closures(text: str, root: Path) -> str:
    """dvc.yaml's text with the code dependencies of every stage set to its import closure; comments stay.

    Raises:
        ValueError: a stage has no module.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    for name, stage in document["stages"].items():
        closure = import_closure(root, root / "stages" / f"{name}.py")
        others = [dependency for dependency in stage["deps"] if not is_code(dependency)]
        stage["deps"][:] = [*closure, *others]
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


@app.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Compare only; exit code 1 where they differ.")] = False,
) -> None:
    """Write each stage's import closure into dvc.yaml, and the same file into every pipelines/<system>/."""
    try:
        wanted = with_closures((ROOT / "dvc.yaml").read_text(encoding="utf-8"), ROOT)
    except (ValueError, SyntaxError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    files = [ROOT / "dvc.yaml", *sorted(ROOT.glob("pipelines/*/dvc.yaml"))]
    stale = [path for path in files if path.read_text(encoding="utf-8") != wanted]
    for path in stale:
        name = path.relative_to(ROOT).as_posix()
        if check:
            typer.echo(f"error: {name}: dependencies differ from what the stages import; run `make deps`", err=True)
        else:
            path.write_text(wanted, encoding="utf-8")
            typer.echo(f"{name} written")
    if check and stale:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
