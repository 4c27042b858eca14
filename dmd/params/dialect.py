"""Params as DVC reads them: YAML 1.2, by the library and the call that DVC takes, so that it locks what is run."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


def parse_yaml(text: str) -> Any:
    """The value of a YAML document: `0042` is 42, `1e3` a float, `yes` and `1:30` are texts.

    Raises:
        ValueError: it is none, or has a key twice; says what is wrong and in which line.
    """
    try:
        return YAML(typ="safe").load(text)
    except (YAMLError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" (line {mark.line + 1})"
        said = " ".join((getattr(error, "problem", None) or str(error)).split())
        raise ValueError(f"cannot be read as YAML: {said}{place}") from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no YAML, or no UTF-8.
    """
    return parse_yaml(path.read_text(encoding="utf-8"))
