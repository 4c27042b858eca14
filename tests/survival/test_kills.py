"""Killed at any moment and run again, a stage leaves to the bit what it leaves without a kill."""

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dmd.runtime.files import load_json, save_json
from tests.survival.beyond_pixels import KINDS, stages_before
from tests.survival.figures import keep
from tests.survival.victims import ROOT, Hunt, Victims, make_images, outputs

CODE = ("dmd", "stages")
STAGES = ("pairs", "distill", "teacher")
MORE = [("latent", stage) for stage in STAGES] + [("text", stage) for stage in STAGES]
CASES: list[Any] = [*(("pixels", stage) for stage in STAGES), ("adapters", "distill")]
CASES += [pytest.param(*case, marks=pytest.mark.slow) for case in MORE]
HUNDREDS = {"pairs": 80, "distill": 120, "teacher": 20}


@pytest.fixture(scope="module")
def systems(victims: Victims, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """From stage and kind to a folder with all that the stage reads."""

    @cache
    def made(stage: str, kind: str = "pixels") -> Path:
        folder = tmp_path_factory.mktemp(stage) / "system"
        if (stage, kind) == ("teacher", "pixels"):
            make_images(folder)
        else:
            KINDS[kind](folder, None)
        for before in stages_before(stage, folder):
            victims.run(before, folder)
        shutil.rmtree(folder / ".work", ignore_errors=True)
        shutil.rmtree(folder / "last", ignore_errors=True)
        return folder

    return made


@pytest.mark.parametrize(("kind", "stage"), CASES)
def test_a_killed_stage_ends_as_if_nothing_had_happened(
    kind: str, stage: str, victims: Victims, systems: Callable[..., Path], tmp_path: Path
) -> None:
    kills, identical = Hunt(victims, stage, systems(stage, kind), tmp_path).kill(3, seed=1)
    assert kills > 0
    assert identical


def test_the_comparison_notices_one_step(victims: Victims, systems: Callable[..., Path], tmp_path: Path) -> None:
    """What the other tests compare does depend on the last update and on the last pair."""
    shutil.copytree(systems("distill"), tmp_path / "one")
    shutil.copytree(systems("distill"), tmp_path / "other")
    params = tmp_path / "other" / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("steps: 10\n", "steps: 9\n"), encoding="utf-8")
    for name in ("one", "other"):
        victims.run("distill", tmp_path / name)
    one, other = outputs(tmp_path / "one"), outputs(tmp_path / "other")
    same = {name for name in one if one[name] == other[name]}
    assert same <= {"teacher", "pairs", "health.csv"}  # the last of these has a row every so many steps
    assert {"generator", "tensors", "numbers", "losses.csv", "history.safetensors"} <= one.keys()


def progress(folder: Path) -> Path:
    """The file of kills so far, in `$DMD_KILLS` where that names a folder: a hunt that was cut off goes on from it.

    Kills of other code do not count.
    """
    code = hashlib.sha256(b"".join(path.read_bytes() for name in CODE for path in sorted((ROOT / name).rglob("*.py"))))
    place = Path(os.environ.get("DMD_KILLS") or folder)
    place.mkdir(parents=True, exist_ok=True)
    return place / f"kills-{code.hexdigest()[:16]}.json"


@pytest.mark.slow
def test_hundreds_of_kills(victims: Victims, systems: Callable[..., Path], tmp_path: Path) -> None:
    file = progress(tmp_path)
    figures: dict[str, dict[str, int]] = load_json(file) if file.exists() else {}
    for stage, wanted in HUNDREDS.items():
        entry = figures.setdefault(stage, {"runs": 0, "total": 0, "identical": 0})
        (tmp_path / stage).mkdir()
        hunt = Hunt(victims, stage, systems(stage), tmp_path / stage) if entry["total"] < wanted else None
        while hunt is not None and entry["total"] < wanted:
            entry["runs"] += 1
            kills, same = hunt.kill(min(8, wanted - entry["total"]), seed=1000 + entry["runs"])
            entry["total"] += kills
            entry["identical"] += kills * same
            save_json(file, figures)
            print(f"{stage}: {entry['identical']} of {entry['total']}", flush=True)
    both = {key: figures["pairs"][key] + figures["distill"][key] for key in ("total", "identical")}
    keep(kills=both | {"stages": figures})
    assert all(entry["identical"] == entry["total"] for entry in figures.values())
