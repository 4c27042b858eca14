"""What a machine may do to a process: each harm is done in the process itself, before its stage starts."""

import ctypes
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

FILE = "harms.json"
"""In a victim's folder: name -> argument of each harm; it is taken away when it is done."""

CAPABILITIES_VERSION = 0x20080522
OVERRIDES = 0b110
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, by which root may read and write against a file's mode."""


def full_disk(largest: int) -> None:
    """Refuse every byte of a file after the first `largest`, with EFBIG."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))


def little_memory(mebibytes: int) -> None:
    """Leave `mebibytes` of address space beyond those in use."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def clock_back(seconds: float) -> None:
    """Set the clock back by so many seconds whenever it is read; `time.monotonic` goes on, as the system promises."""
    now = time.time()

    def read() -> float:
        nonlocal now
        now -= seconds
        return now

    time.time, time.time_ns = read, lambda: int(read() * 1e9)


def obey_modes(_: object) -> None:
    """Let root keep to the modes of files, by capset(2), as others must."""
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0, ctypes.get_errno()
    for number in (0, 1):  # effective, permitted
        sets[number] &= ~OVERRIDES
    assert libc.capset(header, sets) == 0, ctypes.get_errno()


HARMS: dict[str, Callable[..., None]] = {
    harm.__name__: harm for harm in (full_disk, little_memory, clock_back, obey_modes)
}


def plan(folder: Path, **harms: object) -> None:
    """Let the next victim in `folder` meet these harms."""
    (folder / FILE).write_text(json.dumps(harms), encoding="utf-8")


def meet(folder: Path) -> None:
    """Do to this process what was planned for `folder`, once."""
    path = folder / FILE
    if path.exists():
        harms = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        for name, argument in harms.items():
            HARMS[name](argument)
