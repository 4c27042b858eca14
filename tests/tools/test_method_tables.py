"""The views of a table of methods hold its means, and Welch's p as SciPy has it of the runs themselves."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from tools.method_tables import ablation, recipes
from tools.tables import filled

DISTANCES = {"regression": [9.0, 9.4, 9.5], "dmd-alpha0": [8.0, 8.6, 8.3], "dmd": [20.0, 31.0, 24.0]}
DISTANCES |= {"dmd-ttur": [7.0, 7.1, 7.5], "sid": [8.2]}


def row(recipe: str, seed: int, distance: float) -> dict[str, Any]:
    facts = {"recipe": recipe, "seed": seed, "alpha": 0.25, "guidance_scale": 1.25, "steps": 9}
    cost = {"network_passes": 192010.4, "cpu_seconds": 100.0 + seed, "nfe": 1}
    scores = {"fd_x": distance, "fd_x_std": 0.3, "kid_x": distance / 2, "precision": 0.8, "recall": 0.5 + 0.1 * seed}
    return {**facts, **cost, **scores, "class_accuracy": 0.98, "num_samples": 2000, "num_sets": 3}


@pytest.fixture
def methods() -> pd.DataFrame:
    return pd.DataFrame([row(name, k, fd) for name, found in DISTANCES.items() for k, fd in enumerate(found)])


def test_the_ablation_holds_both_losses_against_each_alone(methods: pd.DataFrame) -> None:
    table = ablation(methods).set_index("recipe")
    assert list(table.index) == ["regression", "dmd-alpha0", "dmd", "dmd-ttur"]
    assert table.loc["dmd-alpha0", "fd_x"] == "8.3 ± 0.3"
    assert table.loc["dmd-alpha0", "recall"] == "0.6 ± 0.1"
    assert set(table["seeds"]) == {3}
    for one in ("regression", "dmd-alpha0"):
        p = table[f"p against {one}"]
        assert p[["regression", "dmd-alpha0"]].isna().all()
        for name in ("dmd", "dmd-ttur"):
            truth = ttest_ind(DISTANCES[one], DISTANCES[name], equal_var=False).pvalue
            assert p[name] == pytest.approx(truth, rel=1e-9)


def test_one_seed_is_no_test(methods: pd.DataFrame) -> None:
    table = ablation(methods[methods["seed"] == 0])
    assert table["p against dmd-alpha0"].isna().all()


def test_a_recipe_that_has_not_run_is_named(methods: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no recipe dmd-alpha0; run `dmd methods`"):
        ablation(methods[methods["recipe"] != "dmd-alpha0"])
    with pytest.raises(ValueError, match="no recipe dmd or dmd-ttur; run `dmd methods`"):
        ablation(methods[~methods["recipe"].isin(["dmd", "dmd-ttur"])])


def test_one_recipe_with_both_losses_is_enough(methods: pd.DataFrame) -> None:
    table = ablation(methods[methods["recipe"] != "dmd"]).set_index("recipe")
    assert list(table.index) == ["regression", "dmd-alpha0", "dmd-ttur"]
    truth = ttest_ind(DISTANCES["dmd-alpha0"], DISTANCES["dmd-ttur"], equal_var=False).pvalue
    assert table.loc["dmd-ttur", "p against dmd-alpha0"] == pytest.approx(truth, rel=1e-9)


def test_every_recipe_has_a_row_of_means_the_nearest_first(methods: pd.DataFrame) -> None:
    table = recipes(methods)
    assert list(table["recipe"]) == ["dmd-ttur", "sid", "dmd-alpha0", "regression", "dmd"]
    assert list(table["seeds"]) == [3, 1, 3, 3, 3]
    assert list(table.columns[2:]) == [
        *("network_passes", "cpu_seconds", "nfe", "fd_x", "kid_x", "precision", "recall", "class_accuracy")
    ]
    first = table.iloc[0]
    assert (first["network_passes"], first["cpu_seconds"]) == (192010, 101)
    assert first["fd_x"] == pytest.approx(7.2)


def test_a_page_names_a_view(methods: pd.DataFrame, tmp_path: Path) -> None:
    methods.to_csv(tmp_path / "methods.csv", index=False)
    page = filled("<!-- table: methods.csv as: recipes rows: sid, dmd -->\n<!-- end -->\n", tmp_path)
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["sid", "dmd"]
    assert "0.3" not in lines[2]
    assert filled(page, tmp_path) == page
    with pytest.raises(ValueError, match="no view 'other'; take one of ablation, recipes, "):
        filled("<!-- table: methods.csv as: other -->\n<!-- end -->\n", tmp_path)
