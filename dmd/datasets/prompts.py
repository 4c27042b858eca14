"""Prompts of a text-to-image system: a CSV with the columns `prompt` and `split`, `train` or `test`."""

import warnings
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pandas.errors import ParserWarning

SPLITS = ("train", "test")


class PromptTexts(NamedTuple):
    """The texts of both splits, in the file's order."""

    train: list[str]
    held_out: list[str]
    """Of `test`: nothing is trained on them."""


def read_prompts(path: Path) -> PromptTexts:
    """Read the file.

    Raises:
        ValueError: it cannot be read, lacks a column or rows of a split, or a row is not right; names it and the cure.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # of rows that are longer than the first
            table = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False)
    except ParserWarning as error:
        raise ValueError(f"dataset.prompts {path}: rows are longer than the head; quote prompts with commas") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"dataset.prompts {path}: cannot be read as CSV: {' '.join(str(error).split())}") from error
    if missing := [name for name in ("prompt", "split") if name not in table]:
        raise ValueError(f"dataset.prompts {path}: has no column {' and '.join(missing)}; it needs prompt and split")
    for line, (prompt, split) in enumerate(zip(table["prompt"], table["split"], strict=True), start=2):
        if split not in SPLITS:
            raise ValueError(f"dataset.prompts {path}: line {line}: split is {split!r}; take train or test")
        if not prompt.strip():
            raise ValueError(f"dataset.prompts {path}: line {line}: the prompt is empty; the null prompt is added here")
    train, held_out = (table["prompt"][table["split"] == split].tolist() for split in SPLITS)
    for split, prompts, use in (("train", train, "trained on"), ("test", held_out, "held out for the evaluation")):
        if not prompts:
            raise ValueError(f"dataset.prompts {path}: no row has split {split}: none is {use}; add some")
    if both := sorted(set(train) & set(held_out)):
        raise ValueError(
            f"dataset.prompts {path}: {both[0]!r:.100} is in both splits; a held-out prompt is not trained on"
        )
    return PromptTexts(train, held_out)
