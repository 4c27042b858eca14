"""A work folder is named by everything that its result depends on."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from dmd.fetch.downloads import downloads_folder
from dmd.runtime.work_folder import fingerprint, finish, given, keep_alone, loaded_sources, work_folder, work_root


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "a").write_text("1")
    (tmp_path / "file").write_text("2")
    return [tmp_path / "folder", tmp_path / "file"]


PARAMS = {"seed": 0, "steps": 10, "nested": {"rate": 1e-4}}


def test_the_same_is_the_same(inputs: list[Path]) -> None:
    first = fingerprint(inputs, PARAMS)
    assert len(first) == 16
    (inputs[1]).write_text("2")
    assert fingerprint(inputs, dict(reversed(PARAMS.items()))) == first
    assert fingerprint(inputs[::-1], PARAMS) == first


def test_content_names_and_params_change_it(inputs: list[Path]) -> None:
    seen = {fingerprint(inputs, PARAMS)}
    seen.add(fingerprint(inputs, {**PARAMS, "seed": 1}))
    seen.add(fingerprint(inputs, {**PARAMS, "nested": {"rate": 2e-4}}))
    seen.add(fingerprint(inputs, {**PARAMS, "more": None}))
    seen.add(fingerprint(inputs[:1], PARAMS))
    inputs[1].write_text("3")
    seen.add(fingerprint(inputs, PARAMS))
    (inputs[0] / "sub" / "a").write_text("4")
    seen.add(fingerprint(inputs, PARAMS))
    (inputs[0] / "sub" / "a").rename(inputs[0] / "sub" / "b")
    seen.add(fingerprint(inputs, PARAMS))
    assert len(seen) == 8


@pytest.mark.parametrize(("name", "counts"), [("dmd.extra", True), ("stages.extra", True), ("dmdx.extra", False)])
def test_this_projects_sources_change_it(
    name: str, counts: bool, inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "extra.py"
    source.write_text("a = 1")
    module = ModuleType(name)
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, name, module)
    before = fingerprint(inputs, PARAMS)
    source.write_text("a = 2")
    assert (fingerprint(inputs, PARAMS) != before) == counts


def test_a_missing_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fingerprint([tmp_path / "nowhere"], {})


def test_work_is_found_again_and_removed_at_the_end(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMD_WORK", str(tmp_path / "elsewhere"))
    work = work_folder("pairs", inputs, PARAMS)
    assert work == tmp_path / "elsewhere" / "pairs" / fingerprint(inputs, PARAMS)
    (work / "shard").write_text("half")
    assert (work_folder("pairs", inputs, PARAMS) / "shard").read_text() == "half"
    other = work_folder("pairs", inputs, {**PARAMS, "seed": 1})
    assert other != work
    finish(work)
    finish(work)
    assert not work.exists()
    assert other.is_dir()
    monkeypatch.delenv("DMD_WORK")
    monkeypatch.chdir(tmp_path)
    assert work_folder("pairs", inputs, PARAMS).resolve().parent == tmp_path / ".work" / "pairs"


def test_a_temporary_copy_of_dvc_works_in_the_repository_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DMD_WORK", raising=False)
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert work_root().resolve() == (tmp_path / ".work").resolve()
    monkeypatch.chdir(tmp_path)
    assert work_root().resolve() == (tmp_path / ".work").resolve()


def test_what_git_does_not_track_is_the_originals_in_a_temporary_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DMD_DOWNLOADS", raising=False)
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "tmpx"
    for folder in (tmp_path / "faces", tmp_path / "tracked", copy / "tracked"):
        folder.mkdir(parents=True)
    for place in (tmp_path, copy):
        monkeypatch.chdir(place)
        assert given(Path("faces")).resolve() == tmp_path / "faces"
        assert given(Path("tracked")).resolve() == place / "tracked"
        assert given(tmp_path / "faces") == tmp_path / "faces"
        assert downloads_folder().resolve() == tmp_path / "downloads"
        assert not given(Path("nowhere")).exists()


def test_a_copy_of_the_sources_has_the_same_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("one", "other"):
        folder = tmp_path / name
        (folder / "dmd").mkdir(parents=True)
        (folder / "dmd" / "extra.py").write_text("a = 1")
        module = ModuleType("dmd.extra")
        module.__file__ = str(folder / "dmd" / "extra.py")
        monkeypatch.setitem(sys.modules, "dmd.extra", module)
        monkeypatch.chdir(folder)
        seen.append({path: digest for path, digest in loaded_sources().items() if path.endswith("extra.py")})
    assert seen[0] == seen[1]
    assert list(seen[0]) == ["dmd/extra.py"]


def test_one_finished_folder_is_kept_and_unfinished_ones_stay(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMD_WORK", str(tmp_path / "work"))
    folders = [work_folder("pairs", inputs, {**PARAMS, "seed": seed}) for seed in range(4)]
    for folder in (folders[1], folders[2], folders[2]):
        keep_alone(folder)
    assert [folder.exists() for folder in folders] == [True, False, True, True]
    # One that is taken up again is in use, and not removed.
    work_folder("pairs", inputs, {**PARAMS, "seed": 2})
    keep_alone(folders[3])
    assert [folder.exists() for folder in folders] == [True, False, True, True]
