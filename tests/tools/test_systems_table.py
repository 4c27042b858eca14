"""The systems side by side: a column for each run, its figures those of its metrics."""

from pathlib import Path
from typing import Any

import pytest

from dmd.runtime.files import save_json
from tools.systems_table import systems
from tools.tables import filled


def scores(parameters: int, distance: str, teacher: float, before: float, after: float) -> dict[str, Any]:
    values = {"teacher": (teacher, 8, 0.5), "student_before": (before, 1, 0.1), "student": (after, 1, 0.1)}
    models = {
        name: {distance: value, "nfe": calls, "seconds_per_image": seconds}
        for name, (value, calls, seconds) in values.items()
    }
    run = {"parameters": parameters, "teacher_source": "train", "num_sets": 3, "num_samples": 2000}
    return {**models, "run": run, "data": {"test": {distance: 1.5}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    runs = {"wide": scores(10_000, "fd_y", 4.0, 400.0, 6.0), "narrow": scores(9_000, "fid", 2.0, 10.0, 5.0)}
    for system, run in runs.items():
        folder = tmp_path / "metrics" / system
        folder.mkdir(parents=True)
        save_json(folder / "metrics.json", run)
    return tmp_path


def test_there_is_a_column_for_each_run_the_smallest_network_first(root: Path) -> None:
    table = systems(root / "metrics")
    assert list(table) == ["", "[narrow](narrow.md)", "[wide](wide.md)"]
    narrow, wide = (dict(zip(table[""], table[column], strict=True)) for column in list(table)[1:])
    assert (narrow["distance"], wide["distance"]) == ("fid", "fd_y")
    assert (narrow["student ÷ teacher"], narrow["student ÷ before"], narrow["times as fast"]) == (2.5, 0.5, 5.0)
    assert (wide["student ÷ teacher"], wide["student ÷ before"], wide["real test images"]) == (1.5, 0.015, 1.5)


def test_a_page_shows_it(root: Path) -> None:
    page = filled("<!-- table: metrics -->\n<!-- end -->\n", root)
    assert "| parameters " in page
    assert "| 9,000 " in page
    assert filled(page, root) == page
