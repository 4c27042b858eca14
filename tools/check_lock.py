"""Does every dvc.lock agree with its dvc.yaml, params and code? Needs no cache and runs no stage.

    python -m tools.check_lock

Where it does not, the numbers in git are not those of the code in git. `dvc status` compares. Data that is only missing
(a clean clone has none) is no disagreement; but what a stage was locked with must be what another was locked to write.

Under pipelines/ a lock may be that of an experiment: its params then differ from those of params.yaml, which are the
talk's. That is said, and is no disagreement; in the root it is one.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml
from dvc.utils.serialize import load_yaml

from dmd.commands.overrides import flat

ROOT = Path(__file__).resolve().parent.parent
CACHED = ("data/", "models/")
ABSENT = ("deleted", "not in cache")

app = typer.Typer(add_completion=False)


def pipelines(root: Path) -> list[Path]:
    """dvc.yaml of the root, and of every pipelines/<system>/ that has a lock; relative to `root`."""
    others = [lock.with_name("dvc.yaml") for lock in sorted(root.glob("pipelines/*/dvc.lock"))]
    return [Path("dvc.yaml"), *(path.relative_to(root) for path in others)]


def changes(entries: list[Any], params: bool = True) -> Iterator[str]:
    """What differs from the lock in one stage's entries of `dvc status --json`, without cached data that is absent.

    Differing params count where `params` is true.
    """
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for path, state in (item for group in entry.values() for item in group.items()):
            if isinstance(state, dict):
                if params:
                    yield from (f"{path}: {key} {verb}" for key, verb in state.items())
            elif not (state in ABSENT and path.startswith(CACHED)):
                yield f"{path} {state}"


def status(root: Path, pipeline: Path) -> dict[str, list[Any]]:
    """`dvc status --json`: stage name to what changed.

    Raises:
        ValueError: DVC cannot read the pipeline; carries its own words.
    """
    command = [sys.executable, "-m", "dvc", "status", "--json", pipeline.as_posix()]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(f"{pipeline}: `dvc status` failed: {(done.stdout + done.stderr).strip()}")
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return {name.rpartition(":")[2]: entries for name, entries in found.items()}


def mismatches(lock: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(stage, sentence) for each input that was locked with other content than the stage that writes it was."""
    written = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
    for name, stage in lock["stages"].items():
        for dep in stage.get("deps", []):
            if written.get(dep["path"], dep["md5"]) != dep["md5"]:
                yield name, f"{dep['path']} is not the one locked as output"


def other_params(lock: Path) -> list[tuple[str, Any, Any]]:
    """Params by dotted key where a lock's run differs from the params.yaml beside it: (key, file's value, run's value).

    None stands for a key that one of them lacks.
    """
    stages = load_yaml(lock)["stages"].values()  # DVC's own reader: a 1e-06 that it wrote is text in YAML 1.1
    run: dict[str, Any] = {}
    for stage in stages:
        for values in stage.get("params", {}).values():
            for key, value in values.items():
                run |= flat({key: value})
    file = flat(load_yaml(lock.with_name("params.yaml")))
    return [(key, file.get(key), value) for key, value in run.items() if file.get(key) != value]


def stale_stages(root: Path, pipeline: Path) -> dict[str, list[str]]:
    """Stages that disagree with the lock, each with what differs.

    Raises:
        ValueError: there is no lock, or DVC cannot read the pipeline.
    """
    lock = (root / pipeline).with_suffix(".lock")
    if not lock.is_file():
        raise ValueError(f"{lock.relative_to(root)} is missing; run `dvc repro {pipeline}` and commit it")
    own_params = pipeline.parent == Path()
    stale = {name: list(changes(entries, own_params)) for name, entries in status(root, pipeline).items()}
    for name, sentence in mismatches(yaml.safe_load(lock.read_text(encoding="utf-8"))):
        stale.setdefault(name, []).append(sentence)
    return {name: reasons for name, reasons in stale.items() if reasons}


@app.command()
def main() -> None:
    """Exit with 1, naming the stages, where a dvc.lock is older than the code, params or data it describes."""
    problems = []
    for pipeline in pipelines(ROOT):
        try:
            stale = stale_stages(ROOT, pipeline)
        except ValueError as error:
            problems.append(str(error))
            continue
        others = [key for key, *_ in other_params((ROOT / pipeline).with_suffix(".lock"))]
        if others:
            typer.echo(f"{pipeline.with_suffix('.lock')}: a run with its own {', '.join(others)}")
        if stale:
            names = "\n".join(f"  {name}: {', '.join(reasons)}" for name, reasons in stale.items())
            lock = pipeline.with_suffix(".lock")
            problems.append(f"{lock} is out of date; run `dvc repro {pipeline}` and commit the lock\n{names}")
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
