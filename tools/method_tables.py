"""What a page shows of the table of `dmd methods`: DMD's own ablation, and every recipe in a row."""

import pandas as pd

from dmd.commands.comparison import Run, welch
from dmd.report.tables import distance_key

ALONE = ("regression", "dmd-alpha0")
"""Recipes with one of DMD's two losses: regression without matching, matching without regression."""

TOGETHER = ("dmd", "dmd-ttur")
"""Recipes with both, of one time scale and of two."""

FACTS = ("network_passes", "cpu_seconds", "nfe")
SCORES = ("kid", "precision", "recall", "class_accuracy")
"""Columns of the tables, by the beginnings of their names."""


def table_distance(methods: pd.DataFrame) -> str:
    """The name of the table's Fréchet distance.

    Raises:
        ValueError: it has none.
    """
    return distance_key({"student": [str(column) for column in methods]})


def ablation(methods: pd.DataFrame) -> pd.DataFrame:
    """DMD without matching, without regression and with both: mean ± standard deviation over the seeds.

    `p` is Welch's, of a recipe with both against each with one, over the seeds; empty with fewer than two of either.

    Raises:
        ValueError: a recipe with one loss is not in the table, or none with both; names what is missing.
    """
    there = set(methods["recipe"])
    together = [name for name in TOGETHER if name in there]
    missing = [name for name in ALONE if name not in there] + ([] if together else [" or ".join(TOGETHER)])
    if missing:
        raise ValueError(f"the table has no recipe {', '.join(missing)}; run `dmd methods` with it")
    distance = table_distance(methods)
    runs = {name: _run(methods, name, distance) for name in (*ALONE, *together)}
    shown = [distance, *(str(name) for name in methods if str(name).startswith(SCORES[2:]))]
    rows = []
    for name, run in runs.items():
        scores = {key: _mean(run, key) for key in shown}
        tests = {f"p against {one}": welch(runs[one], run, distance) if name in TOGETHER else None for one in ALONE}
        rows.append({"recipe": name, "seeds": run.scores["num_sets"], **scores, **tests})
    return pd.DataFrame(rows)


def recipes(methods: pd.DataFrame) -> pd.DataFrame:
    """One row a recipe, the nearest to the data first: means over its seeds, and how many there are."""
    distance = table_distance(methods)
    shown = [*FACTS, distance, *(str(name) for name in methods if str(name).startswith(SCORES))]
    groups = methods.groupby("recipe", sort=True)
    found = groups[shown].mean().sort_values(distance).round({"network_passes": 0, "cpu_seconds": 0})
    found.insert(0, "seeds", groups.size())
    return found.reset_index()


def _run(methods: pd.DataFrame, name: str, distance: str) -> Run:
    """A recipe's scores over its seeds, as `welch` takes a run's over its sets."""
    found = methods[methods["recipe"] == name]
    columns = [distance, *(str(column) for column in found if str(column).startswith(SCORES))]
    scores = {key: float(found[key].mean()) for key in columns}
    scores |= {f"{key}_std": float(found[key].std()) for key in columns}
    return Run(name, {}, scores | {"num_sets": len(found), "num_samples": found["num_samples"].iloc[0]})


def _mean(run: Run, key: str) -> str:
    """A score's mean over the seeds ± its standard deviation, which one seed has not."""
    deviation = f" ± {run.scores[f'{key}_std']:.2g}" if run.scores["num_sets"] > 1 else ""
    return f"{run.scores[key]:.4g}{deviation}"


VIEWS = {"ablation": ablation, "recipes": recipes}
"""By the name that a page's block gives them."""
