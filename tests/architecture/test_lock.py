"""The lock check tells a stale lock from a clone without data, and from a run with params of its own."""

from pathlib import Path

import yaml

from tools.check_lock import changes, mismatches, other_params


def test_absent_data_is_no_change_and_all_else_is() -> None:
    entries = [
        {"changed deps": {"models/x/teacher": "deleted", "dmd/a.py": "modified", "params.yaml": {"pairs": "modified"}}},
        {"changed outs": {"data/x/pairs": "not in cache", "metrics/x/metrics.json": "deleted"}},
        "changed command",
    ]
    assert list(changes(entries)) == [
        "dmd/a.py modified",
        "params.yaml: pairs modified",
        "metrics/x/metrics.json deleted",
        "changed command",
    ]
    assert list(changes([{"changed deps": {"data/x/pairs": "modified"}}])) == ["data/x/pairs modified"]


def test_an_input_must_be_what_its_stage_was_locked_to_write() -> None:
    teacher = {"outs": [{"path": "models/x/teacher", "md5": "1"}]}
    pairs = {"deps": [{"path": "dmd/a.py", "md5": "7"}, {"path": "models/x/teacher", "md5": "1"}]}
    assert list(mismatches({"stages": {"teacher": teacher, "pairs": pairs}})) == []
    pairs["deps"][1]["md5"] = "2"
    assert [stage for stage, _ in mismatches({"stages": {"teacher": teacher, "pairs": pairs}})] == ["pairs"]


def test_params_of_a_run_of_its_own_are_told_from_the_files(tmp_path: Path) -> None:
    params = {
        "seed": 0,
        "dataset": {"name": "celeba", "folder": None},
        "distill": {"steps": 2000, "betas": [0.9, 0.999], "rate": 1.0e-6},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    lock = {"stages": {"fetch": {"params": {"p": {"dataset": {"name": "lfw-faces", "folder": None}}}}}}
    lock["stages"]["distill"] = {"params": {"p": {"seed": 0, "distill": {"steps": 5, "betas": [0.9, 0.999]}}}}
    text = yaml.safe_dump(lock).replace("steps: 5", "steps: 5\n          rate: 1e-06")  # as DVC writes it
    (tmp_path / "dvc.lock").write_text(text, encoding="utf-8")
    differing = [("dataset.name", "celeba", "lfw-faces"), ("distill.steps", 2000, 5)]
    assert sorted(other_params(tmp_path / "dvc.lock")) == differing

    entries = [{"changed deps": {"params.yaml": {"distill": "modified"}, "dmd/a.py": "modified"}}]
    assert list(changes(entries, params=False)) == ["dmd/a.py modified"]
