"""What lies below a folder: every file, through links too, and nothing left out in silence."""

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, sorted. Links are followed, and each folder is entered once, by its own name first.

    What is neither file nor folder is passed over, as are links that lead nowhere or to a folder that was entered;
    the log says how many, and names one.

    Raises:
        ValueError: a folder cannot be entered; names it.
    """
    found: list[Path] = []
    passed_over: list[Path] = []
    folders, links = [folder], list[Path]()
    entered: set[Path] = set()
    while folders or links:
        here = (folders or links).pop()
        if here.resolve() in entered:
            passed_over.append(here)
            continue
        entered.add(here.resolve())
        for path in _entries(here):
            if path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            else:
                (found if path.is_file() else passed_over).append(path)
    if passed_over:
        what = "links that lead nowhere or back, or no files, are passed over"
        logger.warning("%s: %d %s, as is %s", folder, len(passed_over), what, min(passed_over))
    return sorted(found)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry) for entry in os.scandir(folder))
    except OSError as error:
        raise ValueError(
            f"{folder}: cannot be entered: {error.strerror}; let this account read it (chmod u+rx), or remove it"
        ) from error
