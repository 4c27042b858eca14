"""Broken params files: each is refused before any work, with the key and what is allowed; contradictions too."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dmd.params.config import ConfigError, load_config
from tests.survival.figures import keep
from tests.survival.victims import ROOT

VALUES = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
Break = tuple[str, Any]


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


LEAVES = leaves(VALUES)
SECTIONS = sorted({key.rpartition(".")[0] for key in LEAVES} - {""})
SWITCHES = sorted(key for key, value in LEAVES.items() if isinstance(value, bool))
NUMBERS = sorted(key for key, value in LEAVES.items() if isinstance(value, int | float) and key not in SWITCHES)
BOUNDED = [key for key in NUMBERS if key != "distill.matching.sid_a"]  # which may be negative
COUNTS = sorted(key for key in NUMBERS if isinstance(LEAVES[key], int) and key != "fetch.timeout_seconds")
TEXTS = sorted(key for key, value in LEAVES.items() if isinstance(value, str) and key != "teacher.backbone.kind")
LISTS = sorted(key for key, value in LEAVES.items() if isinstance(value, list))
WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
NO_NUMBER = WORDS.map(lambda word: f"x {word}") | st.lists(st.integers(), max_size=3) | st.booleans()
NO_NUMBER |= st.dictionaries(WORDS, st.integers(), max_size=2)
CONTRADICTIONS = (
    {"distill.generator_timesteps": [1000]},
    {"guidance_scale": 2.0, "dataset.num_classes": None},
    {"pairs.num_steps": 1001},
    {"pairs.solver": "ddim", "pairs.num_steps": 7},
    {"evaluate.solver": "ddim", "evaluate.num_steps": 999},
    {"distill.matching.noise": [12.0, 0.02]},
    {"distill.history_epochs": 751},
    {"pairs.solver": "unipc", "pairs.timestep_spacing": "leading"},
    {"teacher.schedule.beta_start": 0.5, "teacher.schedule.beta_end": 0.1},
    {"teacher.source": "train", "teacher.training": None},
    {"distill.perceptual.name": "lpips-vgg", "distill.perceptual.resolution": 8},
    {"teacher.backbone.norm_num_groups": 5},
    {"teacher.source": "train", "teacher.training.label_dropout": 0.0, "guidance_scale": 2.5},
    {"teacher.source": "random", "teacher.revision": "0" * 40},
    {
        "teacher.source": "train",
        "distill.gradient_checkpointing": True,
        "teacher.backbone": {"kind": "teapearce", "width": 64},
    },
)
REMOVED = object()

BREAKS: st.SearchStrategy[Break] = st.one_of(
    st.tuples(st.sampled_from(NUMBERS), NO_NUMBER),
    st.tuples(st.sampled_from(NUMBERS), st.just(float("nan")) | st.just(float("inf"))),
    st.tuples(st.sampled_from(BOUNDED), st.floats(max_value=-1e-9)),
    st.tuples(st.sampled_from(COUNTS), st.floats(0.01, 1e6).map(lambda value: value + 0.001)),
    st.tuples(st.sampled_from(SWITCHES), st.integers() | WORDS.map(lambda word: f"x {word}") | st.none()),
    st.tuples(st.sampled_from(TEXTS), st.integers() | st.lists(WORDS, max_size=2) | st.booleans() | st.none()),
    st.tuples(st.sampled_from(LISTS), st.integers() | WORDS | st.dictionaries(WORDS, WORDS, max_size=2)),
    st.tuples(st.sampled_from(SECTIONS), st.integers() | WORDS | st.lists(WORDS, max_size=2)),
    st.tuples(st.sampled_from(["", *(f"{section}." for section in SECTIONS)]), WORDS).map(
        lambda pair: (f"{pair[0]}no_such_{pair[1]}", 1)
    ),
    st.tuples(st.sampled_from(["seed", "alpha", "pairs.count", "distill.steps", "dataset.name"]), st.just(REMOVED)),
)


def broken(changes: dict[str, Any]) -> str:
    values = copy.deepcopy(VALUES)
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = values
        for parent in parents:
            place = place[parent]
        place[last] = value
        if value is REMOVED:
            del place[last]
    return yaml.dump(values, Dumper=yaml.CSafeDumper, sort_keys=False)


def check_refused(folder: Path, key: str, text: str) -> str:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_config(path)
    message = str(error.value)
    assert str(path) in message
    assert key.rpartition(".")[2] in message
    return message


@pytest.mark.parametrize("changes", CONTRADICTIONS, ids=str)
def test_contradictions_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    message = check_refused(tmp_path, "", broken(changes))
    key, value = next(iter(changes.items()))
    assert any(name.rpartition(".")[2] in message for name in changes)
    said = message.lower()  # as YAML writes it: true
    assert any(str(value).lower() in said for value in changes.values()), (key, value)


def refuse(folder: Path, number: int) -> int:
    """Let hypothesis break the params `number` times, each in one place; how many were tried."""
    tried = set()

    @settings(max_examples=number, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(BREAKS)
    def one(change: Break) -> None:
        key, value = change
        text = broken({key: value})
        message = check_refused(folder, key, text)
        assert value is REMOVED or repr(value) in message
        tried.add(text)

    one()
    return len(tried)


def test_hundreds_of_broken_files_are_refused_with_the_key(tmp_path: Path) -> None:
    assert refuse(tmp_path, 300) > 200


@pytest.mark.slow
def test_ten_thousand_broken_files_are_refused_with_the_key(tmp_path: Path) -> None:
    total = refuse(tmp_path, 12_000)
    keep(params={"total": total, "refused": total})
    assert total >= 10_000
