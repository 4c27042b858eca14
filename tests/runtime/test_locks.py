"""A lock has one holder, and a killed holder holds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from dmd.runtime.locks import BusyError, alone, take

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
