"""What a page shows of the table of `dmd steps`: what was scored, and how far from the exact solution each row is."""

import pandas as pd

ENOUGH = 1000
"""Samples, below which a distance is mostly bias."""

SETTING = ["guidance_scale", "solver", "num_steps", "timestep_spacing", "nfe"]

EXACTNESS = ["rmse_to_exact", "seconds_per_image"]
"""What needs no scores: rows drawn for it alone have none."""


def scored(teacher_steps: pd.DataFrame) -> pd.DataFrame:
    """The rows that have scores of enough samples, without their distance to the exact solution."""
    rows = teacher_steps[teacher_steps["num_samples"] >= ENOUGH]
    return rows.dropna(subset=["precision"]).drop(columns=["rmse_to_exact", "teacher"], errors="ignore")


def exactness(teacher_steps: pd.DataFrame) -> pd.DataFrame:
    """How far each setting's images are from the exact solution, noise by noise, and seconds an image; no scores."""
    return teacher_steps.dropna(subset=["rmse_to_exact"])[SETTING + EXACTNESS].sort_values([*SETTING[:2], "nfe"])


VIEWS = {"scored": scored, "exactness": exactness}
"""By the name that a page's block gives them."""
