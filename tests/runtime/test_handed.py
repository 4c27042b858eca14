"""A file of an earlier stage is read as that stage writes it, or refused with its name, its fault and the stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from dmd.runtime.files import save_json, save_tensors
from dmd.runtime.handed import HandedError, read_json, read_table, read_tensors
from dmd.runtime.places import Places, writer_of

PLACES = Places("a-system")
WRITTEN = {
    PLACES.dataset: "fetch",
    PLACES.weights("features"): "fetch",
    PLACES.teacher / "config.json": "teacher",
    PLACES.pairs / "manifest.csv": "pairs",
    PLACES.training / "losses.csv": "distill",
    PLACES.generator / "unet" / "config.json": "distill",
    PLACES.evaluation / "scores.json": "evaluate",
    PLACES.card: "report",
    Path("/data/me/pairs/here") / PLACES.training: "distill",
    PLACES.metrics / "metrics.json": None,
    Path("teacher/config.json"): None,
}


@pytest.mark.parametrize("path", WRITTEN, ids=str)
def test_each_file_has_its_stage(path: Path) -> None:
    assert writer_of(path) == WRITTEN[path]


class Sized(BaseModel):
    """Something with a number."""

    count: int


JSON: dict[str, tuple[str | None, str]] = {
    "missing": (None, "is not there"),
    "empty": ("", "is no JSON"),
    "cut": ('{"count": ', "is no JSON"),
    "a list": ("[]", "is not as it was written"),
    "too deep": ("[" * 10**5, "is no JSON"),
    "no keys": ("{}", r"is not as it was written \(count: Field required\)"),
    "another kind": ('{"count": "many"}', r"is not as it was written \(count: "),
}


@pytest.mark.parametrize("name", JSON)
def test_json_of_another_shape_is_refused(name: str, tmp_path: Path) -> None:
    content, said = JSON[name]
    path = tmp_path / PLACES.evaluation / "scores.json"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_text(content)
    with pytest.raises(HandedError, match=rf"scores\.json {said}.*; run the stage `evaluate` again") as error:
        read_json(path, Sized)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_json_comes_back_as_it_is(tmp_path: Path) -> None:
    value = {"count": 3, "more": [1]}
    save_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", Sized) == read_json(tmp_path / "a.json") == value


TABLES: dict[str, tuple[str | None, str]] = {
    "missing": (None, "is not there"),
    "empty": ("", "is no table"),
    "header alone": ("step,fake\n", "has no rows"),
    "other columns": ("a,b\n1,2\n", "has no column step, fake, but a, b"),
    "a folder of bytes": ("\x00\x01", "has no column|is no table"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_another_shape_are_refused(name: str, tmp_path: Path) -> None:
    content, said = TABLES[name]
    path = tmp_path / PLACES.training / "losses.csv"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_text(content)
    with pytest.raises(HandedError, match=rf"losses\.csv ({said}).*; run the stage `distill` again"):
        read_table(path, ("step", "fake"))


def test_a_table_may_be_empty_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("step,fake\n")
    assert read_table(tmp_path / "a.csv", ("step",), may_be_empty=True).empty


TENSORS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda path: None, "is not there"),
    "empty": (lambda path: path.touch(), "is no safetensors file"),
    "no tensors": (lambda path: save_tensors(path, {}), "has no tensor `x`, but none"),
    "another name": (lambda path: save_tensors(path, {"y": torch.ones(2, 1)}), "has no tensor `x`, but y"),
    "another shape": (lambda path: save_tensors(path, {"x": torch.ones(2)}), r"has `x` of shape \[2\]"),
    "no rows": (lambda path: save_tensors(path, {"x": torch.ones(0, 1)}), r"has `x` of shape \[0, 1\]"),
    "unequal": (
        lambda path: save_tensors(path, {"x": torch.ones(2, 1), "label": torch.ones(3)}),
        "has unequal numbers",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_another_shape_are_refused(name: str, tmp_path: Path) -> None:
    write, said = TENSORS[name]
    path = tmp_path / PLACES.dataset / "train.safetensors"
    path.parent.mkdir(parents=True)
    write(path)
    with pytest.raises(HandedError, match=rf"train\.safetensors {said}.*; run the stage `fetch` again"):
        read_tensors(path, {"x": 2, "label": 1} if name == "unequal" else {"x": 2})
