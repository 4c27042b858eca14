"""`dvc repro` of the system at the root: before its speed was measured, and after; each in a clone of its own."""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.repeats import summary
from benchmarks.workers import Plan, timed
from dmd.fetch.downloads import downloads_folder
from dmd.params.dialect import read_yaml

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "159c1a4c36901c1f08de00929867cda99d09c44c"
"""The last commit before anything was measured for its speed; its pipeline has the same stages."""

WORK = {"pairs": ("count", "num_steps"), "distill": ("steps", "batch_size"), "evaluate": ("num_samples", "num_sets")}
"""Params that say how much a stage does: the side before takes them from the side after."""


def has(commit: str) -> bool:
    """Whether the history has a commit; a shallow clone's may not."""
    return subprocess.run(["git", "cat-file", "-e", commit], cwd=ROOT, capture_output=True).returncode == 0


def clone(commit: str, name: str) -> Path:
    """A clone of this repository at a commit that it has."""
    folder = Path(tempfile.mkdtemp()) / name
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    return folder


def stages(folder: Path) -> list[str]:
    """Stages of the pipeline, in the order in which they are written and run."""
    return list(yaml.safe_load((folder / "dvc.yaml").read_text())["stages"])


def run_stage(folder: Path, stage: str) -> None:
    """One stage by DVC, alone, in this Python's environment and with this repository's downloads."""
    places = {"DMD_DOWNLOADS": str(downloads_folder().resolve()), "DMD_WORK": str(folder / ".work")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", f"dvc.yaml:{stage}"]
    environment = {**os.environ, **places, "DVC_NO_ANALYTICS": "1", "PATH": path}
    subprocess.run(command, cwd=folder, env=environment, check=True)


def give_work(source: Path, target: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Let the params of `target` ask for as much as those of `source`; returns what each asked for."""
    params = {folder: read_yaml(folder / "params.yaml") for folder in (source, target)}
    asked = {
        folder.name: {section: {name: values[section][name] for name in names} for section, names in WORK.items()}
        for folder, values in params.items()
    }
    for section, values in asked[source.name].items():
        params[target][section].update(values)
    (target / "params.yaml").write_text(yaml.safe_dump(params[target]))
    return asked


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of all stages, once, stage by stage, each side first in turn.

    After; before with the same work; and before as it was shipped, with its own. Nothing in a clone without the commit.
    """
    if not has(BEFORE):
        return {"ratios": {}}
    folders = clone("HEAD", "after"), clone(BEFORE, "before"), clone(BEFORE, "as_shipped")
    after, before, _ = folders
    asked, seconds = give_work(after, before), dict[str, float]()
    for number, stage in enumerate(stages(after)):
        for folder in folders if number % 2 == 0 else reversed(folders):
            seconds[f"{stage}_{folder.name}"] = timed(partial(run_stage, folder, stage))[0][plan.clock]
    for folder in folders:
        seconds[folder.name] = sum(seconds[f"{stage}_{folder.name}"] for stage in stages(folder))
    over = {
        "repro_before_over_after": ("as_shipped", "after"),
        "repro_same_work_before_over_after": ("before", "after"),
    } | {
        f"repro_{stage}_same_work_before_over_after": (f"{stage}_before", f"{stage}_after")
        for stage in ("pairs", "distill", "evaluate")
    }
    return {
        "before": BEFORE,
        "work": asked,
        "seconds": {name: summary([value]) for name, value in seconds.items()},
        "ratios": {name: summary([seconds[above] / seconds[below]]) for name, (above, below) in over.items()},
    }
