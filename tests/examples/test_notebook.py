"""The notebook's cells, in order, in a clone, with a Hub on loopback and tiny settings for a CPU."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from dmd.params.config import load_config
from tests.architecture.sources import ROOT, repository_files
from tests.fetch.loopback_hub import serve
from tests.stages.test_hub_teachers import COMMIT, write

NOTEBOOK = json.loads((ROOT / "examples" / "hub_teacher.ipynb").read_text(encoding="utf-8"))
CELLS = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
TINY = {
    "guidance_scale": 1.0,
    "pairs.count": 24,
    "pairs.num_steps": 3,
    "distill.steps": 4,
    "distill.batch_size": 4,
    "distill.pairs_batch_size": 4,
    "distill.warmup_steps": 1,
    "distill.history_epochs": 2,
    "distill.health_steps": 2,
    "evaluate.num_samples": 100,
    "evaluate.num_sets": 1,
    "evaluate.num_steps": 3,
}
SETTINGS = f"""
PARAMS, TEACHER, CHANGES = "params.yaml", "someone/digits@{COMMIT}", {TINY!r}
PUBLISH_TO = ""
"""
DISPLAY = """
shown = open("shown.txt", "a")


def Image(name):
    assert open(name, "rb").read(4) == b"\\x89PNG"
    return name


def HTML(text):
    return text


def display(thing):
    print(thing[:60], file=shown, flush=True)
"""


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_the_first_cell_of_code_is_the_settings_and_no_output_is_kept() -> None:
    assert [cell["metadata"].get("tags") for cell in CELLS] == [["parameters"], *[None] * (len(CELLS) - 1)]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CELLS)
    for cell in CELLS:
        compile(source(cell), "cell", "exec")


@pytest.mark.parametrize(("minor", "taken"), [(10, False), (11, True), (13, True), (14, False)])
def test_another_python_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch, minor: int, taken: bool) -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    low, high = (int(number) for number in re.fullmatch(r">=3\.(\d+),<3\.(\d+)", needed).groups())
    assert taken == (low <= minor < high)
    assert "Python 3.11 to 3.13" in source(NOTEBOOK["cells"][0])
    monkeypatch.setattr(sys, "version_info", (3, minor, 3))
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.chdir(ROOT)
    with nullcontext() if taken else pytest.raises(RuntimeError, match=r"Python 3\.11 to 3\.13 is needed, .*; choose"):
        exec(source(CELLS[1]), {})


def test_the_settings_are_params_that_are_taken(tmp_path: Path) -> None:
    names: dict = {}
    exec(source(CELLS[0]), names)
    shutil.copy2(ROOT / names["PARAMS"], tmp_path / "params.yaml")
    names |= {"PARAMS": str(tmp_path / "params.yaml"), "Path": Path}
    exec(next(source(cell) for cell in CELLS if "teacher.source" in source(cell)), names)
    config = load_config(tmp_path / "params.yaml")
    assert config.teacher.source == names["TEACHER"]
    before = load_config(ROOT / "pipelines/cifar10/params.yaml").model_dump()
    for key, value in names["CHANGES"].items():
        section, name = key.split(".")
        assert config.model_dump()[section][name] == value != before[section][name]


@pytest.mark.slow
def test_the_cells_run_from_a_teacher_of_the_hub_to_what_would_be_published(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in (name for name in repository_files() if name != "dvc.lock"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    (tmp_path / "stub" / "IPython").mkdir(parents=True)
    (tmp_path / "stub" / "IPython" / "display.py").write_text(DISPLAY, encoding="utf-8")
    scheduler = {"_class_name": "DDPMScheduler", "clip_sample": True}
    write(tmp_path / "hub" / "someone/digits" / COMMIT, ("unet/", "scheduler/"), scheduler, embeds=11)
    cells = [SETTINGS, *map(source, CELLS[1:])]
    (tmp_path / "cells.py").write_text("\n\n".join(cells), encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    with serve(tmp_path / "hub") as hub:
        settings = {
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "stub"), str(clone)]),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DMD_DOWNLOADS": os.environ.get("DMD_DOWNLOADS", str(ROOT / "downloads")),
        }
        done = subprocess.run(
            [sys.executable, str(tmp_path / "cells.py")],
            cwd=clone,
            env={**kept, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = (clone / "shown.txt").read_text(encoding="utf-8").splitlines()
    pictures = [f"metrics/mnist-small/samples_{name}.png" for name in ("teacher", "before", "student")]
    assert shown[:3] + shown[-1:] == [*pictures, "drawn.png"]
    assert any(line.startswith("<iframe srcdoc=") for line in shown)
    lock = yaml.safe_load((clone / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    assert lock["teacher"]["params"]["params.yaml"]["teacher"]["source"] == f"someone/digits@{COMMIT}"
    assert "40 of models/mnist-small/generator; 1 network call and" in done.stdout
    assert re.search(r"\d+ files would go to org/name in one commit; nothing was sent", done.stdout)
