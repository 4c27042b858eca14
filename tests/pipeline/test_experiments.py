"""What docs/experiments.md says of many experiments: queued, run side by side, listed, pushed and pulled.

The pipeline is the project's own; the two stages that run are short ones, since DVC is what is tested here.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmd.commands.app import app
from tests.pipeline.remotes import ROOT, commit, make_repository, run

STAGE = '''"""A stage in a moment: a score that follows from the params."""

import json
import sys
from pathlib import Path

import yaml

params = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
student = {"fd_lenet": params["evaluate"]["num_samples"] / 100, "fd_lenet_std": 1.0, "recall": 0.5, "precision": 0.5}
'''
EVALUATE = """
folder = Path("data", params["system"], "evaluation")
folder.mkdir(parents=True, exist_ok=True)
(folder / "scores.json").write_text(json.dumps({"student": student}))
"""
REPORT = """
folder, scores = Path("metrics", params["system"]), Path("data", params["system"], "evaluation/scores.json").read_text()
folder.mkdir(parents=True, exist_ok=True)
for name in ("losses.csv", "health.csv", "steps.csv", "report.html"):
    (folder / name).write_text("step,a\\n0,1\\n")
for name in ("losses", "samples_teacher", "samples_before", "samples_student", "history"):
    (folder / f"{name}.png").write_bytes(b"a picture")
(folder / "metrics.json").write_text(scores)
card = Path("models", params["system"], "card/README.md")
card.parent.mkdir(parents=True, exist_ok=True)
card.write_text("a card")
"""
PAGE = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")


def experiments(folder: Path) -> list[str]:
    """Names of the finished experiments."""
    names = run(folder, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    return sorted(name.rpartition("/")[2] for name in names if re.match(r"refs/exps/[0-9a-f]{2}/", name))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The pipeline with all outputs locked, and short stages at its end."""
    folder = make_repository(tmp_path_factory.mktemp("experiments") / "mine")
    for name, body in {"evaluate": EVALUATE, "report": REPORT}.items():
        (folder / "stages" / f"{name}.py").write_text(STAGE + body, encoding="utf-8")
    for key in ("user.name", "user.email"):
        run(folder, "git", "config", key, "test@localhost")
    shutil.rmtree(folder / "data/mnist-small/evaluation")
    run(folder, "dvc", "repro", "dvc.yaml")
    commit(folder, "short stages")
    yield folder
    run(folder, "dvc", "queue", "stop", "--kill")


def test_several_values_are_queued_and_run_side_by_side(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "$ dvc exp run --queue -S alpha=0.5,2 -S" in PAGE
    said = run(repository, "dvc", "exp", "run", "--queue", "-S", "evaluate.num_samples=300,400", "dvc.yaml")
    assert said.count("Queueing with overrides") == 2
    assert "$ dvc queue start -j 2" in PAGE
    run(repository, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 300
    while len(experiments(repository)) < 2:
        assert time.monotonic() < deadline, run(repository, "dvc", "queue", "status")
        time.sleep(0.5)
    names = experiments(repository)
    for name in names:
        run(repository, "dvc", "exp", "branch", name, f"branch-of-{name}")
    found = [
        json.loads(run(repository, "git", "show", f"branch-of-{name}:metrics/mnist-small/metrics.json"))
        for name in names
    ]
    assert sorted(scores["student"]["fd_lenet"] for scores in found) == [3.0, 4.0]

    monkeypatch.chdir(repository)
    result = CliRunner().invoke(app, ["runs"])
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.output.splitlines() if line.strip()]
    assert table[0] == ["run", "evaluate.num_samples", "student.fd_lenet", "student.recall"]
    rows = {row[0]: [float(value) for value in row[1:]] for row in table[1:]}
    assert sorted(rows[name] for name in names) == [[300, 3.0, 0.5], [400, 4.0, 0.5]]
    assert rows["workspace"][1] == 20.0
    result = CliRunner().invoke(app, ["runs", "--score", "student.precision"])
    assert result.output.splitlines()[0].split() == ["run", "evaluate.num_samples", "student.precision"]
    result = CliRunner().invoke(app, ["runs", "--score", "student.fid"])
    assert result.exit_code == 1
    assert "error: --score student.fid: no run has it; there are student.fd_lenet, " in result.output
