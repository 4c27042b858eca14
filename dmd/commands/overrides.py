"""Params with a few values changed, as `dvc exp run -S key=value` changes them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dmd.params.config import Config, load_config, parse_config
from dmd.params.dialect import parse_yaml, read_yaml


def override(params: Path, changes: Mapping[str, Any]) -> Config:
    """The config of a params file with `changes`: dotted key -> value.

    Raises:
        ConfigError: the changed params are wrong.
        ValueError: a key's section does not exist, or the params file is none; names it.
    """
    load_config(params)  # says what is wrong with the file itself
    values = read_yaml(params)
    for key, value in changes.items():
        *sections, name = key.split(".")
        place = values
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ValueError(f"{key}: {params} has no section {'.'.join(sections)}")
        place[name] = value
    return parse_config(values, params)


def parse_values(text: str) -> tuple[str, list[Any]]:
    """`key=1,2,3` as the key and its values, read as YAML: `key=[0.02,8],[0.02,4]` has two, each a list.

    Raises:
        ValueError: it is not written so.
    """
    key, separator, values = text.partition("=")
    if not (key and separator and values):
        raise ValueError(f"{text!r} is not `key=value,value…`, as alpha=2,8,32")
    try:
        return key, list(parse_yaml(f"[{values}]"))
    except ValueError as error:
        raise ValueError(f"{text!r}: the values are not read as YAML, as 0.5,[0.02, 8],null") from error


def grid(axes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every combination of `key=value,value…` axes."""
    keys_values = [parse_values(axis) for axis in axes]
    for combination in itertools.product(*(values for _, values in keys_values)):
        yield dict(zip((key for key, _ in keys_values), combination, strict=True))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; an empty mapping leaves none."""
    (row,) = pd.json_normalize(dict(values), sep=".").to_dict("records") or [{}]
    return {str(key): value for key, value in row.items()}
