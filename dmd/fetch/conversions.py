"""Networks converted in the folder of downloads, which DVC's copies of a repository share: by one process at a time."""

from collections.abc import Callable
from pathlib import Path

from dmd.runtime.files import whole_folder
from dmd.runtime.locks import alone
from dmd.runtime.work_folder import work_root


def convert_into(folder: Path, fill: Callable[[Path], None], anew: bool = False) -> Path:
    """The folder that `fill` makes, whole or not there; another process that wants it waits, and takes it.

    Args:
        folder: its place in the folder of downloads, named by the hash of what is converted.
        fill: writes into the empty folder that it is given.
        anew: fill it although it is there; what others may be reading is replaced only where it has changed.
    """
    with alone(work_root() / "locks" / folder.name, f"the conversion to {folder}", wait=True):
        if folder.is_dir() and not anew:
            return folder
        with whole_folder(folder, keep_same=True) as part:
            fill(part)
    return folder
