"""The comparison of runs: on a repository of three commits, and against scipy on the sets themselves."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc.api import exp_save
from scipy.stats import ttest_ind
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.commands.comparison import Run, load_run, params_table, scores_table, welch

ROOT = Path(__file__).resolve().parents[2]
SETS = {"base": [8.7, 8.9, 8.6], "better": [7.1, 7.0, 7.3], "same": [8.8, 8.5, 8.95]}


def scores(values: list[float], samples: int = 3000) -> dict[str, float]:
    """As evaluate writes them."""
    sizes = {"num_samples": samples, "num_sets": len(values), "nfe": 1}
    return {"fd_lenet": float(np.mean(values)), "fd_lenet_std": float(np.std(values, ddof=1)), **sizes}


def test_p_value_is_that_of_welchs_test_on_the_sets() -> None:
    runs = {name: Run(name, {}, scores(values)) for name, values in SETS.items()}
    for name in ("better", "same"):
        expected = ttest_ind(SETS["base"], SETS[name], equal_var=False).pvalue
        assert welch(runs["base"], runs[name], "fd_lenet") == pytest.approx(expected)
    assert welch(runs["base"], runs["better"], "fd_lenet") < 0.01 < 0.5 < welch(runs["base"], runs["same"], "fd_lenet")


def test_no_p_value_where_nothing_can_be_said() -> None:
    base = Run("base", {}, scores(SETS["base"]))
    assert welch(base, Run("more", {}, scores(SETS["better"], samples=5000)), "fd_lenet") is None
    assert welch(base, base, "recall") is None
    single = {"fd_lenet": 7.0, "num_samples": 3000, "num_sets": 1}
    assert welch(base, Run("single", {}, single), "fd_lenet") is None
    still = Run("still", {}, scores([1.0, 1.0, 1.0]))
    assert welch(still, still, "fd_lenet") is None


def test_only_params_that_differ_are_shown() -> None:
    runs = [Run("a", {"alpha": 2.0, "seed": 0}, {}), Run("b", {"alpha": 0.25, "seed": 0, "new": 1}, {})]
    assert params_table(runs).to_dict("index") == {"alpha": {"a": "2.0", "b": "0.25"}, "new": {"a": "None", "b": "1"}}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default params with three values of alpha, each committed and tagged with its scores."""

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("config", "user.name", "test")
    git("config", "user.email", "test@localhost")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    folder = tmp_path / "metrics" / params["system"]
    folder.mkdir(parents=True)
    for alpha, (name, values) in enumerate(SETS.items()):
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"alpha": alpha + 0.5}))
        (folder / "metrics.json").write_text(json.dumps({"student": scores(values)}))
        git("add", "-A")
        git("commit", "-qm", name)
        git("tag", name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("model", ["student.nfe", "student.nfe.more", "techer"])
def test_what_is_no_model_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match=f"base: no scores of '{model}'"):
        load_run("base", "params.yaml", yaml.safe_load(Path("params.yaml").read_text())["system"], model)


def test_a_dot_in_the_name_of_the_tables_stays(repository: Path) -> None:
    result = CliRunner().invoke(app, ["compare", "base", "better", "--out", "alpha-0.5"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in repository.glob("alpha-*")} == {
        "alpha-0.5.md",
        "alpha-0.5.csv",
        "alpha-0.5-params.csv",
    }


def test_table_of_revisions(repository: Path) -> None:
    result = CliRunner().invoke(app, ["compare", "base", "better", "workspace", "--out", "out/table"])
    assert result.exit_code == 0, result.output
    lines = {line.split("|")[1].strip(): line for line in result.output.splitlines() if line.startswith("|")}
    assert [cell.strip() for cell in lines["alpha"].split("|")[2:5]] == ["0.5", "1.5", "2.5"]
    assert "seed" not in lines
    first, second, third = (cell.strip() for cell in lines["fd_lenet"].split("|")[2:5])
    assert first == "8.733 ± 0.1528"
    assert second.startswith("7.133 ± 0.1528 (p 0.000")
    assert second.endswith("*")
    assert not third.endswith("*")
    table = pd.read_csv(repository / "out" / "table.csv").set_index(["score", "run"])
    assert table.loc[("fd_lenet", "better"), "difference"] == pytest.approx(-1.6)
    assert np.isnan(table.loc[("fd_lenet", "base"), "p_value"])
    differing = pd.read_csv(repository / "out" / "table-params.csv", index_col=0)
    assert differing.loc["alpha"].astype(float).tolist() == [0.5, 1.5, 2.5]
    assert (repository / "out" / "table.md").read_text(encoding="utf-8").strip() == result.output.strip()

    result = CliRunner().invoke(app, ["compare", "base", "nowhere"])
    assert result.exit_code == 1
    assert "nowhere" in result.output
    assert CliRunner().invoke(app, ["compare", "base", "base"]).exit_code == 2


def test_an_experiment_is_known_by_its_name(repository: Path) -> None:
    (repository / "dvc.yaml").write_text("metrics:\n- metrics/mnist-small/metrics.json\n")
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-qm", "pipeline"], check=True)
    path = repository / "metrics" / "mnist-small" / "metrics.json"
    path.write_text(json.dumps({"student": scores([5.0, 5.5, 6.0])}))
    exp_save(name="trial")
    path.write_text(json.dumps({"student": scores([1.0, 2.0, 3.0])}))
    assert load_run("trial", "params.yaml", "mnist-small", "student").scores["fd_lenet"] == 5.5
    assert load_run("workspace", "params.yaml", "mnist-small", "student").scores["fd_lenet"] == 2


def test_long_table_has_a_row_for_each_score_and_run() -> None:
    runs = [Run(name, {}, scores(values)) for name, values in SETS.items()]
    table = scores_table(runs)
    assert len(table) == 4 * 3
    assert set(table["score"]) == {"fd_lenet", "num_samples", "num_sets", "nfe"}
