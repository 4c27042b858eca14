"""Files are whole or not there, come back as they went, and are known by their hashes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dmd.runtime.files import (
    check_replaceable,
    file_sha256,
    folder_sha256,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    whole_file,
    whole_folder,
)
from tests.training.test_checkpoint import assert_identical, crash


def test_saving_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, numbers = tmp_path / "a.safetensors", tmp_path / "a.json"
    save_tensors(tensors, {"x": torch.zeros(3)})
    save_json(numbers, {"x": 0})
    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_tensors(tensors, {"x": torch.ones(3)})
    with pytest.raises(KeyboardInterrupt):
        save_json(numbers, {"x": 1})
    with pytest.raises(KeyboardInterrupt):
        save_json(tmp_path / "new.json", {"x": 1})
    assert torch.equal(load_tensors(tensors)["x"], torch.zeros(3))
    assert load_json(numbers) == {"x": 0}
    assert not (tmp_path / "new.json").exists()
    monkeypatch.undo()
    save_tensors(tensors, {"x": torch.ones(3)})
    assert torch.equal(load_tensors(tensors)["x"], torch.ones(3))


def test_tensors_come_back_as_they_went(tmp_path: Path) -> None:
    tensors = {
        "strided": torch.arange(12.0).reshape(3, 4).T,
        "wanting gradient": torch.ones(2, requires_grad=True),
        "integer": torch.tensor([2**40]),
        "scalar": torch.tensor(1.5),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    save_tensors(tmp_path / "a.safetensors", tensors)
    loaded = load_tensors(tmp_path / "a.safetensors")
    assert_identical(loaded, {name: tensor.detach() for name, tensor in tensors.items()})


def test_json_is_sorted_and_has_no_nan(tmp_path: Path) -> None:
    save_json(tmp_path / "a.json", {"b": 1 / 3, "a": "σ"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "\\u03c3",\n  "b": 0.3333333333333333\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_json(tmp_path / "a.json", {"x": float("nan")})
    assert load_json(tmp_path / "a.json") == {"b": 1 / 3, "a": "σ"}


def test_a_files_hash_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folders_hash_is_its_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return folder_sha256(tmp_path / name)

    first = folder("one", {"a": "1", "sub/b": "2"})
    assert folder("same", {"sub/b": "2", "a": "1"}) == first
    others = [
        folder("content", {"a": "1", "sub/b": "3"}),
        folder("name", {"a": "1", "sub/c": "2"}),
        folder("place", {"a": "1", "b": "2"}),
        folder("swapped", {"a": "2", "sub/b": "1"}),
        folder("more", {"a": "1", "sub/b": "2", "c": ""}),
    ]
    assert len({first, *others}) == 6


def fill_and_crash(folder: Path) -> None:
    with whole_folder(folder) as part:
        (part / "b").write_text("2")
        crash()


def test_a_folder_takes_the_others_place_only_when_it_is_filled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with whole_folder(out) as part:
        (part / "a").write_text("1")
        assert not out.exists()
    with pytest.raises(KeyboardInterrupt):
        fill_and_crash(out)
    assert [path.name for path in out.iterdir()] == ["a"]
    with whole_folder(out) as part:  # what the crash left is not part of it
        (part / "c").write_text("3")
    assert [path.name for path in out.iterdir()] == ["c"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_cannot_be_moved_in_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace = tmp_path / "out", os.replace
    out.mkdir()
    (out / "a").write_text("1")

    def failing(source: Path, target: Path) -> None:
        if source.name.endswith(".part"):
            raise OSError("disk")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="disk"), whole_folder(out):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "a").read_text() == "1"


def test_a_kill_between_the_two_moves_loses_no_folder(tmp_path: Path) -> None:
    """The old folder lies beside its place then, and the next run brings it back before anything is made."""
    out = tmp_path / "out"
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "a").write_text("1")
    with pytest.raises(KeyboardInterrupt):
        fill_and_crash(out)
    assert (out / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def write_and_crash(path: Path) -> None:
    with whole_file(path) as part:
        part.write_text("2")
        crash()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symlink", "hardlink"])
def test_a_file_that_is_a_link_is_replaced_and_not_written_through(
    link: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    """As DVC's cache.type makes outputs."""
    cached, out = tmp_path / "cached", tmp_path / "out.json"
    cached.write_text("0")
    link(out, cached)
    save_json(out, 1)
    assert (cached.read_text(), load_json(out), out.is_symlink()) == ("0", 1, False)
    out.unlink()
    link(out, cached)
    with pytest.raises(KeyboardInterrupt):
        write_and_crash(out)
    assert (cached.read_text(), out.read_text()) == ("0", "0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cached", "out.json"]


def test_a_folder_of_links_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    cached, out = tmp_path / "cached", tmp_path / "out"
    cached.write_text("0")
    out.mkdir()
    (out / "a").symlink_to(cached)
    (out / "b").hardlink_to(cached)
    with whole_folder(out) as part:
        (part / "a").write_text("1")
    assert (cached.read_text(), (out / "a").read_text(), (out / "b").exists()) == ("0", "1", False)


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_is_a_link_is_written_through(there: bool, tmp_path: Path) -> None:
    disk, out = tmp_path / "disk", tmp_path / "models" / "teacher"
    disk.mkdir()
    out.parent.mkdir()
    out.symlink_to(disk / "teacher")
    if there:
        (disk / "teacher").mkdir()
        (disk / "teacher" / "old").touch()
    check_replaceable(out)
    with whole_folder(out) as part:
        (part / "new").write_text("1")
    assert out.is_symlink()
    assert [path.name for path in (disk / "teacher").iterdir()] == ["new"]
    assert [path.name for path in disk.iterdir()] == ["teacher"]


def test_a_folder_that_cannot_be_replaced_is_refused_before(tmp_path: Path) -> None:
    out, mount = tmp_path / "out", Path("/proc")
    out.symlink_to(mount)
    with pytest.raises(OSError, match=r"out, which leads to /proc, is a mount point.*mount the folder above it"):
        check_replaceable(out)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file is a file, and a folder goes there; move it away"):
        check_replaceable(tmp_path / "file")
    out.unlink()
    out.symlink_to(tmp_path / "file" / "below")
    with pytest.raises(OSError, match=r"cannot be replaced, since .*file cannot be written"):
        check_replaceable(out)
