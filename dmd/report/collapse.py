"""Whether a run collapsed: what its training and its samples say."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from dmd.distill.health import find_collapse

ALIKE = 0.5
"""Samples of the student that differ less than so many times as much as the teacher's are named as a collapse."""


def name_collapse(health: pd.DataFrame, scores: Mapping[str, Any]) -> str | None:
    """Sentences on how a run collapsed; none where it did not.

    During the training: `dmd.distill.health.find_collapse`. After it: the student's mean perceptual distance between samples,
    below ALIKE of the teacher's.

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
