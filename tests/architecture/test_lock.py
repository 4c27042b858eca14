"""The lock check tells a stale lock from a clone without data."""

from tools.check_lock import changes, mismatches


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
