"""Whatever a params file holds, it is read or refused; no other error comes out."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dmd.params.config import Config, ConfigError, load_config

TEXT = (Path(__file__).resolve().parents[2] / "params.yaml").read_text(encoding="utf-8")
VALUES = yaml.safe_load(TEXT)


def leaves(values: Any, prefix: str = "") -> list[str]:
    if not isinstance(values, dict):
        return []
    return [name for key, value in values.items() for name in (f"{prefix}{key}", *leaves(value, f"{prefix}{key}."))]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=6,
)


def only_config_errors(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(content)
        try:
            config = load_config(path)
        except ConfigError:
            return
        assert isinstance(config, Config)
        schedule = config.teacher.schedule
        assert schedule is None or config.distill.generator_timesteps[0] < schedule.num_train_timesteps


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(leaves(VALUES)), ANYTHING), min_size=1, max_size=3))
def test_no_value_gives_another_error(changes: list[tuple[str, Any]]) -> None:
    values = copy.deepcopy(VALUES)
    for key, value in changes:
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place.get(parent, {}) if isinstance(place, dict) else {}
        if isinstance(place, dict):
            place[last] = value
    only_config_errors(yaml.safe_dump(values, allow_unicode=True).encode("utf-8"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(0, len(TEXT)),
    st.integers(0, 30),
    st.text(max_size=6) | st.sampled_from(list(":-[]{}&*!|>%@`#,?\t\n\"'")),
)
def test_no_text_gives_another_error(place: int, removed: int, added: str) -> None:
    text = TEXT[:place] + added + TEXT[place + removed :]
    only_config_errors(text.encode("utf-8", "surrogatepass"))
