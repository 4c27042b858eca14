"""Whether a run collapsed: what its training and its samples say."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

ALIKE = 0.5
"""Samples of the student that differ less than so many times as much as the teacher's are named as a collapse."""


def name_collapse(health: pd.DataFrame, scores: Mapping[str, Any]) -> str | None:
    """Sentences on how a run collapsed; none where it did not.

    During the training: `find_collapse`. After it: the student's mean perceptual distance between samples, below
    ALIKE of the teacher's.

    Args:
        health: the table of `dmd.distill.health`.
        scores: the evaluation's scores, schema of metrics.json.
    """
    sentences = []
    found = find_collapse(health)
    if found is not None:
        sentences.append(f"The run collapsed at update {found[0]:,}: {found[1]}.")
    for name in (name for name in scores["student"] if name.endswith("_diversity")):
        student, teacher = scores["student"][name], scores["teacher"][name]
        if student < ALIKE * teacher:
            sentences.append(
                f"The student has collapsed: its samples differ from one another {student / teacher:.2g} times as much "
                f"as the teacher's ({name} {student:.3g} against {teacher:.3g})."
            )
    return " ".join(sentences) or None


GRADIENT_NORMS = ("grad_norm_distribution_matching", "grad_norm_regression")
"""Columns of the health table that may explode."""

CONSTANT = 0.3
"""A variety below this share of the pairs' is that of constant images: 0.15 in a run whose faces became one."""


EXPLODED = 100.0
"""A gradient norm above so many times the median of the rows before it counts as an explosion."""


EARLIER = 5
"""Rows that must lie before one, for its gradient norms to be judged."""


def find_collapse(health: pd.DataFrame) -> tuple[int, str] | None:
    """How a run collapsed: the first step of it and a sentence; none where it did not.

    Constant images are a `variety` below CONSTANT in the last two rows at least; a run whose every row is so began
    with them. An explosion is a gradient norm at the images that is not finite, or above EXPLODED times the median of
    the rows before it, of which there must be EARLIER.
    """
    return min(filter(None, (_find_constant(health), _find_explosion(health))), default=None)


def _find_constant(health: pd.DataFrame) -> tuple[int, str] | None:
    varied = (health["variety"] >= CONSTANT).to_numpy().nonzero()[0]
    if not len(varied) or varied[-1] + 2 >= len(health):
        return None
    row = health.iloc[varied[-1] + 1]
    return int(row["step"]), f"constant images: they vary {row['variety']:.2g} times as much as the pairs'"


def _find_explosion(health: pd.DataFrame) -> tuple[int, str] | None:
    for position in range(len(health)):
        row = health.iloc[position]
        for name in GRADIENT_NORMS:
            usual = health[name].iloc[:position].median() if position >= EARLIER else float("inf")
            if not row[name] <= EXPLODED * max(usual, 1e-12):
                loss = name.removeprefix("grad_norm_").replace("_", " ")
                return int(row["step"]), f"exploding {loss}: its gradient norm at the images is {row[name]:.3g}"
    return None
