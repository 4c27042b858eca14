"""`dmd runs`: params are read as DVC reads them, whose columns it shows."""

from pathlib import Path

import pytest

from dmd.commands import run_list


def test_keys_are_those_of_dvcs_dialect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`on` is a text in YAML 1.2, and true in 1.1."""
    params = tmp_path / "params.yaml"
    params.write_text("on: 1\nalpha: 2\n", encoding="utf-8")
    rows = [{"rev": rev, "on": on, "alpha": 2, "student.recall": 0.5} for rev, on in (("workspace", 1), ("main", 3))]
    monkeypatch.setattr(run_list, "exp_show", lambda num: rows)
    assert run_list.list_runs(str(params), "mine", ["student.recall"], 1) == [
        {"run": "workspace", "on": 1, "student.recall": 0.5},
        {"run": "main", "on": 3, "student.recall": 0.5},
    ]
