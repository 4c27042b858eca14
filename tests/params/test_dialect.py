"""Params are read as DVC reads them: what it locks is what runs."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml

from dmd.commands.overrides import override, parse_values
from dmd.params.config import ConfigError, load_config
from dmd.params.dialect import parse_yaml, read_yaml

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "0042": 42,  # 34 in YAML 1.1
    "1e-3": 0.001,  # a text there
    "yes": "yes",  # true there
    "1:30": "1:30",  # 90 there
    "0o17": 15,
    "null": None,
    "true": True,
}


@pytest.mark.parametrize("text", VALUES)
def test_values_are_those_of_dvc(text: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}\n", encoding="utf-8")
    assert read_yaml(path) == {"a": VALUES[text]} == load_yaml(path)


def with_seed(tmp_path: Path, line: str) -> Path:
    """The root's params with another line for the seed."""
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "\nseed: 0\n" in text
    path.write_text(text.replace("\nseed: 0\n", f"\n{line}\n"), encoding="utf-8")
    return path


def test_a_run_takes_the_seed_that_dvc_locks(tmp_path: Path) -> None:
    path = with_seed(tmp_path, "seed: 0042")
    assert load_config(path).seed == load_yaml(path)["seed"] == 42
    assert override(path, {"alpha": 1.0}).seed == 42
    assert parse_values("seed=0042,7") == ("seed", [42, 7])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seed: 1\nseed: 2", r'found duplicate key "seed" with value "2" \(original value: "1"\) \(line \d+\)$'),
        ("seed: yes", r"seed: .* \(got 'yes'\)$"),
        ("seed: 1:30", r"seed: .* \(got '1:30'\)$"),
    ],
)
def test_what_dvc_would_read_otherwise_or_not_is_refused(line: str, said: str, tmp_path: Path) -> None:
    path = with_seed(tmp_path, line)
    with pytest.raises(ConfigError, match=said) as error:
        load_config(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("text", ["a: [1", "a: *b", "a: \x00", "? [a]: b", "a: !!python/object:b.c {}", "a: 1\n---\n"])
def test_what_is_no_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read as YAML: [^\n]+$"):
        parse_yaml(text)
