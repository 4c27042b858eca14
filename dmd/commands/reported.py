"""Is what lies there what the last report describes? dvc.lock has the hash of all that was scored and written."""

from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from dmd.runtime.places import Places

STAGES = ("distill", "evaluate", "report")
"""Those that write the generator, score it, and describe the scores."""

HARMLESS = "not in cache"
"""What DVC says of an output that is as it was locked, but has no second copy."""


def check_reported(pipeline: Path, places: Places) -> None:
    """Hold the generator, its scores and their report against the lock of the pipeline at `pipeline`.

    `evaluate` was locked with the generator that it scored, and `report` with the scores and the card: where all of
    them are still so, the card speaks of these weights, and no file was added to them.

    Raises:
        ValueError: one differs, or there is no such pipeline; names the paths and the cure.
    """
    try:
        with Repo() as repo:
            found = repo.status(targets=[f"{pipeline}:{stage}" for stage in STAGES])
    except DvcException as error:
        raise ValueError(f"{pipeline}: DVC cannot compare it with its lock: {error}") from error
    entries = [entry for stage in found.values() for entry in stage if isinstance(entry, dict)]
    states = {path: state for entry in entries for group in entry.values() for path, state in group.items()}
    watched = [places.generator, places.card, places.evaluation, places.metrics]
    wrong = {
        path: state
        for path, state in states.items()
        if state != HARMLESS and any(Path(path).is_relative_to(folder) for folder in watched)
    }
    if wrong:
        told = ", ".join(f"{path} {state}" for path, state in sorted(wrong.items()))
        raise ValueError(
            f"{places.generator} is not what the last report describes: {told}; `dvc repro {pipeline}` reports on what "
            f"is there, `dvc checkout {pipeline}` brings back what was reported"
        )
