"""A lock has one holder, and a killed holder holds nothing."""

import errno
import fcntl
import logging
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from dmd.runtime.locks import BusyError, alone, take
from dmd.runtime.work_folder import alone_in, finish

HOLDER = """
import sys, time
from pathlib import Path
from dmd.runtime.locks import take
lock = take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def holder(path: Path) -> "subprocess.Popen[str]":
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_has_one_holder_whose_death_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "pairs"
    process = holder(path)
    try:
        assert take(path) is None
        with (
            pytest.raises(BusyError, match=rf"pairs is being run by process {process.pid} on .*wait"),
            alone(path, "pairs"),
        ):
            pass
    finally:
        process.kill()  # SIGKILL
        process.wait()
    again = take(path, wait=True)
    assert again is not None
    assert take(path) is None
    again.close()
    with alone(path, "pairs"):
        assert take(path) is None
    assert not path.exists()


class Told(logging.Handler):
    """Notes when the second one says that it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.text = threading.Event(), ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()
        self.waits.set()


def test_a_second_run_in_a_work_folder_waits_for_the_first(tmp_path: Path) -> None:
    """As two experiments do that share a training; the first takes its finished work away."""
    work, told, entered = tmp_path / "distill" / "0123", Told(), threading.Event()
    work.mkdir(parents=True)

    def second() -> None:
        with alone_in(work):
            (work / "checkpoint").touch()
            entered.set()

    logger = logging.getLogger("dmd.runtime.locks")
    logger.addHandler(told)
    level = logger.level
    logger.setLevel(logging.INFO)
    thread = threading.Thread(target=second)
    try:
        with alone_in(work):
            thread.start()
            assert told.waits.wait(60)
            assert not entered.is_set()
            finish(work)
        thread.join(60)
    finally:
        logger.removeHandler(told)
        logger.setLevel(level)
    assert "the same `distill` is being run by process " in told.text
    assert "waiting until it is done" in told.text
    assert (work / "checkpoint").is_file()
    assert [path.name for path in work.parent.iterdir()] == [work.name]  # no lock is left


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_group_does_not_wait_for_another_run(rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first process would, and the others would go on from the holder's checkpoint."""
    work, real = tmp_path / "distill" / "0123", fcntl.flock
    refused = pytest.raises(BusyError, match=r"the same `distill` is being run by process \d+ on .*; wait until it is")
    with alone_in(work):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setattr(fcntl, "flock", lambda file, how: real(file, how | fcntl.LOCK_NB))  # waiting would fail
        with refused if rank == "0" else nullcontext(), alone_in(work):
            pass
    with alone_in(work):
        assert work.with_name("0123.lock").exists() == (rank == "0")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_named_with_the_cure(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no such thing")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match=rf"^{tmp_path}/lock cannot be locked: no such thing; .* set DMD_WORK"):
        take(tmp_path / "lock")
