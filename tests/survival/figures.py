"""The figures of this folder's slow tests, kept in benchmarks/results/survival.json."""

from typing import Any

from dmd.runtime.files import load_json, save_json
from tests.survival.victims import ROOT

FIGURES = ROOT / "benchmarks" / "results" / "survival.json"


def keep(**figures: dict[str, Any]) -> None:
    """Write or replace these entries of the file."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    there = load_json(FIGURES) if FIGURES.exists() else {}
    save_json(FIGURES, there | figures)
