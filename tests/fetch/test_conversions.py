"""A conversion is there whole or not at all, made by one process at a time, and not taken from one that reads it."""

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from dmd.fetch.conversions import convert_into


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of work and locks."""
    monkeypatch.setenv("DMD_WORK", str(tmp_path / "work"))


def write(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)


def test_a_second_one_waits_and_takes_what_the_first_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, begun, go_on = tmp_path / "downloads" / "0123", threading.Event(), threading.Event()
    made: list[str] = []
    found: list[str] = []

    def fill(part: Path) -> None:
        made.append(part.name)
        write("half", part)
        begun.set()
        assert go_on.wait(60)
        write("whole", part)

    def read() -> None:
        found.append((convert_into(folder, fill) / "config.json").read_text())

    first, second = threading.Thread(target=read), threading.Thread(target=read)
    with caplog.at_level(logging.INFO, "dmd.runtime.locks"):
        first.start()
        assert begun.wait(60)
        second.start()
        while "waiting until it is done" not in caplog.text:
            assert second.is_alive()
            time.sleep(0.01)
    assert not folder.exists()
    go_on.set()
    first.join(60)
    second.join(60)
    assert found == ["whole", "whole"]
    assert len(made) == 1
    assert list(folder.parent.iterdir()) == [folder]


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill(part: Path) -> None:
        write("half", part)
        raise ValueError("of another network")

    folder = tmp_path / "downloads" / "0123"
    with pytest.raises(ValueError, match="of another network"):
        convert_into(folder, fill)
    assert list(folder.parent.iterdir()) == []
    assert convert_into(folder, lambda part: write("whole", part)) == folder


def test_what_is_made_anew_replaces_only_what_has_changed(tmp_path: Path) -> None:
    folder = tmp_path / "downloads" / "0123"
    convert_into(folder, lambda part: write("a", part))
    with (folder / "config.json").open() as reader:
        convert_into(folder, lambda part: write("a", part), anew=True)
        assert os.path.samestat(os.fstat(reader.fileno()), (folder / "config.json").stat())
        convert_into(folder, lambda part: write("b", part), anew=True)
        assert (reader.read(), (folder / "config.json").read_text()) == ("a", "b")
    assert list(folder.parent.iterdir()) == [folder]
