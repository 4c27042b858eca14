"""A sweep's rows belong to a base: what changes a distillation changes its name, what does not leaves it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from dmd.commands import method_runs, short_runs
from dmd.commands.overrides import flat, grid, override
from dmd.commands.short_runs import base_hash
from dmd.commands.sweep import sweep
from dmd.distill.loop import Distillation
from dmd.params.config import Config, load_config

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The shipped params, in a folder with a teacher to name."""
    teacher = tmp_path / "models" / "mnist-small" / "teacher"
    teacher.mkdir(parents=True)
    (teacher / "weights").write_text("")
    monkeypatch.chdir(tmp_path)
    return load_config(PARAMS)


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("distill.compile", True, True),
        ("evaluate.num_samples", 500, True),
        ("distill.mixed_precision", None, True),
        ("distill.mixed_precision", "bf16", False),
        ("teacher.training.mixed_precision", "bf16", True),
        ("distill.learning_rate_fake", 0.5, False),
        ("pairs.count", 1, False),
    ],
)
def test_the_base_changes_with_what_changes_the_result(config: Config, key: str, value: Any, same: bool) -> None:
    assert (base_hash(override(PARAMS, {key: value})) == base_hash(config)) == same


def test_the_base_changes_with_the_teacher(config: Config) -> None:
    before = base_hash(config)
    Path("models", "mnist-small", "teacher", "weights").write_text("others")
    assert base_hash(config) != before


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize("axis", ["pairs.count=1,2", "distill.mixed_precision=null,bf16"])
def test_what_a_process_cannot_vary_is_refused(axis: str, tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match=f"^{axis.partition('=')[0]}: .*; use `dvc exp run -S`$"):
        sweep(PARAMS, tmp_path / "table.csv", [axis])
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.usefixtures("config")
def test_every_combination_is_checked_before_any_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"learning_rate_fake: .*\(got -1\)"):
        sweep(PARAMS, tmp_path / "table.csv", ["distill.learning_rate_fake=0.1,-1"])
    with pytest.raises(ValueError, match=r"distill.none.x: .* has no section distill.none"):
        sweep(PARAMS, tmp_path / "table.csv", ["distill.none.x=1"])
    with pytest.raises(ValueError, match=r"^'alpha' is not `key=value"):
        sweep(PARAMS, tmp_path / "table.csv", ["alpha"])


def test_axes_make_a_grid_of_values_read_as_yaml() -> None:
    assert list(grid(["a=1,2.5", "b.c=null,x"])) == [
        {"a": 1, "b.c": None},
        {"a": 1, "b.c": "x"},
        {"a": 2.5, "b.c": None},
        {"a": 2.5, "b.c": "x"},
    ]


def test_nested_params_have_dotted_keys_and_the_values_that_they_had() -> None:
    values = {"a": None, "b": {"c": 1, "d": {"e": [1, {"f": 2}], "g": True}}, "h": {}, "i": 10**20, "j": "0042"}
    found = flat(values)
    assert found == {"a": None, "b.c": 1, "b.d.e": [1, {"f": 2}], "b.d.g": True, "i": 10**20, "j": "0042"}
    assert [type(found[key]) for key in ("b.c", "b.d.g", "i", "j")] == [int, bool, int, str]
    assert flat({}) == {}


class Diverging(Distillation):
    """A run that is not finite, in a work folder of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def run(self) -> None:
        raise FloatingPointError("step 3: loss is nan")


def test_a_run_that_is_not_finite_has_a_row_without_scores_and_the_others_go_on(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "mnist-small" / "pairs").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(short_runs, "prepare", lambda changed: Diverging(tmp_path / "work"))
    rows = short_runs.fill_table(PARAMS, tmp_path / "table.csv", [{"alpha": 1.0}, {"alpha": 2.0}], 20)
    assert [row["changes"] for row in rows] == ["alpha 1.0", "alpha 2.0"]
    assert rows[0] == {"changes": "alpha 1.0", "base": base_hash(config), "samples": 20}
    assert not (tmp_path / "work").exists()


def test_a_table_of_methods_has_one_base(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "mnist-small" / "pairs").mkdir(parents=True)
    shutil.copytree(PARAMS.parent / "recipes", tmp_path / "recipes")
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(method_runs, "prepare", lambda changed: Diverging(tmp_path / "work"))
    table = tmp_path / "methods.csv"
    (row,) = method_runs.compare_methods(PARAMS, table, ["dmd-ttur"], [0], 48e3, 20)
    assert (row["base"], row["asked_passes"], row["samples"]) == (base_hash(config), 48e3, 20)
    assert method_runs.compare_methods(PARAMS, table, ["dmd-ttur"], [0], 48e3, 20)[0]["recipe"] == "dmd-ttur"
    for passes, samples in ((64e3, 20), (48e3, 30)):
        with pytest.raises(ValueError, match="other params, passes or samples; name another table"):
            method_runs.compare_methods(PARAMS, table, ["dmd-ttur"], [0], passes, samples)
    Path("models", "mnist-small", "teacher", "weights").write_text("others")
    with pytest.raises(ValueError, match=r"methods\.csv: has rows of another teacher"):
        method_runs.compare_methods(PARAMS, table, ["dmd-ttur"], [0], 48e3, 20)
