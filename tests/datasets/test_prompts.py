"""The CSV of prompts: both splits in their order, and one line for each thing that is wrong."""

from pathlib import Path

import pytest

from dmd.datasets.prompts import read_prompts


def test_both_splits_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text('prompt,split,source\n"a cat, asleep",train,x\nNA,test,y\na dog ,train,z\n', encoding="utf-8")
    assert read_prompts(path) == (["a cat, asleep", "a dog "], ["NA"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,split\na,train\n", r"no row has split test: none is held out for the evaluation; add some"),
        ("prompt,split\na,test\n", r"no row has split train: none is trained on"),
        ("prompt\na\n", r"has no column split; it needs prompt and split"),
        ("text,part\na,b\n", r"has no column prompt and split"),
        ("prompt,split\na,train\nb,val\n", r"line 3: split is 'val'; take train or test"),
        ("prompt,split\n  ,train\nb,test\n", r"line 2: the prompt is empty; the null prompt is added here"),
        ("prompt,split\na,train\na,test\n", r"'a' is in both splits"),
        ("", r"cannot be read as CSV"),
        ("prompt,split\na cat, asleep,train\na dog, awake,test\n", r"rows are longer than the head; quote prompts"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"dataset.prompts {path}: {message}"):
        read_prompts(path)
    with pytest.raises(ValueError, match=r"cannot be read as CSV"):
        read_prompts(tmp_path / "absent.csv")
