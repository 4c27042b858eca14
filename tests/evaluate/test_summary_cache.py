"""Summaries kept by content: the same numbers, and nothing stale or broken is ever read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dmd.evaluate import summary_cache as reference
from dmd.evaluate.frechet import Moments
from dmd.evaluate.summaries import Summary
from dmd.evaluate.summary_cache import cached, reference_folder

CPU = torch.device("cpu")


ANOTHER = """
import sys
from pathlib import Path
import torch
import dmd.commands.app
from dmd.evaluate.summary_cache import cached

def compute():
    raise AssertionError("computed again")

cached([Path(sys.argv[1])], {}, torch.device("cpu"), compute)
"""
"""Reads an entry in a process that has loaded another set of modules."""


class Counted:
    """A summary of random features, and how often it was computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Summary:
        self.calls += 1
        features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        confusion, light = torch.arange(9).view(3, 3), torch.tensor([0.1, 0.2], dtype=torch.float64)
        images = features.view(30, 1, 2, 2)[:7].clone()
        return Summary(Moments.of(features), features, torch.arange(30), images, confusion, light)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DMD_WORK", str(tmp_path / "work"))
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "images").write_bytes(b"bytes of a dataset")
    return tmp_path / "dataset"


def test_second_time_reads_what_the_first_computed_bit_for_bit(data: Path) -> None:
    compute = Counted()
    first, second = (cached([data], {"name": "train"}, CPU, compute) for _ in range(2))
    assert compute.calls == 1
    assert first.moments.count == second.moments.count
    assert all(torch.equal(value, second.tensors()[name]) for name, value in first.tensors().items())
    assert all(value.dtype == second.tensors()[name].dtype for name, value in first.tensors().items())


def test_other_content_or_settings_are_another_entry(data: Path) -> None:
    compute = Counted()
    cached([data], {"steps": 8}, CPU, compute)
    cached([data], {"steps": 9}, CPU, compute)
    (data / "images").write_bytes(b"bytes of another one")
    cached([data], {"steps": 8}, CPU, compute)
    assert compute.calls == 3
    assert len(list(reference_folder().glob("*.safetensors"))) == 3


def test_every_command_shares_an_entry_and_a_changed_source_has_its_own(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Counted()
    cached([data], {}, CPU, compute)
    subprocess.run([sys.executable, "-c", ANOTHER, data], check=True)
    names = reference.sources()
    assert {"types.py", "features/lenet.py", "diffusion/sampler.py", "evaluate/summaries.py"} <= names.keys()
    monkeypatch.setattr(reference, "sources", lambda: names | {"features/lenet.py": "changed"})
    cached([data], {}, CPU, compute)
    assert compute.calls == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "record", "no record"])
def test_a_broken_entry_is_computed_again(data: Path, harm: str) -> None:
    compute = Counted()
    expected = cached([data], {}, CPU, compute)
    (path,) = reference_folder().glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    elif harm in ("cut", "empty"):
        path.write_bytes(content[: len(content) // 2 if harm == "cut" else 0])
    elif harm == "record":
        path.with_suffix(".json").write_text("{")
    else:
        path.with_suffix(".json").unlink()
    found = [cached([data], {}, CPU, compute) for _ in range(2)]
    assert compute.calls == 2
    assert all(torch.equal(item.features, expected.features) for item in found)


def test_entries_unused_for_longest_go_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Counted()
    for step in range(3):
        cached([data], {"step": step}, CPU, compute)
    for age, path in enumerate(sorted(reference_folder().glob("*.safetensors"))):
        os.utime(path, (1000 + age, 1000 + age))
    kept = sorted(path.name for path in reference_folder().glob("*.safetensors"))[-1]
    size = (reference_folder() / kept).stat().st_size
    monkeypatch.setattr(reference, "MAX_BYTES", 2 * size + 1)
    cached([data], {"step": 3}, CPU, compute)
    left = {path.name for path in reference_folder().glob("*.safetensors")}
    assert len(left) == 2
    assert kept in left
    assert {path.stem for path in reference_folder().glob("*.json")} == {Path(name).stem for name in left}


def test_an_entry_that_another_run_removes_meanwhile_is_passed_over(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def vanishing(path: Path, **options: bool) -> os.stat_result:
        if path.name == "gone.safetensors":
            raise FileNotFoundError(path)
        return stat(path, **options)

    reference_folder().mkdir(parents=True)
    (reference_folder() / "gone.safetensors").touch()
    monkeypatch.setattr(Path, "stat", vanishing)
    monkeypatch.setattr(reference, "MAX_BYTES", 1)
    compute = Counted()
    for step in range(2):
        cached([data], {"step": step}, CPU, compute)
    assert len(list(reference_folder().glob("*.json"))) == 1


def test_a_temporary_copy_of_the_repository_reads_the_originals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DMD_WORK", raising=False)
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert reference_folder() == tmp_path / ".work" / "reference"
    monkeypatch.chdir(tmp_path)
    assert reference_folder() == tmp_path / ".work" / "reference"


def test_an_entry_that_another_process_lacks_is_computed_by_all(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computing is the work of all processes together: one that reads alone would leave the others waiting."""
    compute = Counted()
    cached([data], {}, CPU, compute)
    monkeypatch.setattr(reference, "gather_object", lambda found: [*found, False])
    cached([data], {}, CPU, compute)
    assert compute.calls == 2
