"""Ship a trained teacher: to assets/<system>/teacher, small enough for git, with its provenance and its scores."""

import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffusers import ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from dmd.commands.arguments import SETS
from dmd.commands.teacher_steps import Bench, Setting
from dmd.fetch.weights_folder import check_provenance
from dmd.models.backbones import load_backbone
from dmd.models.codec import FOLDER, load_autoencoder
from dmd.models.teacher import HASHED
from dmd.params.config import Config
from dmd.runtime.files import file_sha256, save_json
from dmd.runtime.handed import read_json
from dmd.runtime.places import Places
from stages.command import cli

SAMPLES = 2000

LARGEST = 12_000_000
"""Bytes of a file that git should keep: larger weights are halved, and in parts where that is not enough."""

PART = 11_000_000
"""Bytes of tensors in a part."""


def place_teacher(staged: Path, out: Path) -> None:
    """Write a trained teacher as it is shipped: its network, what makes its latents, and its scheduler."""
    shutil.rmtree(out, ignore_errors=True)
    place_weights(staged, out, load_backbone)
    if (staged / FOLDER).is_dir():
        place_weights(staged / FOLDER, out / FOLDER, load_autoencoder)
    shutil.copyfile(staged / "scheduler_config.json", out / "scheduler_config.json")


def place_weights(staged: Path, out: Path, load: Callable[[Path], ModelMixin]) -> None:
    """Write one network with its config: as it is, or where that is too large with parameters in float16."""
    out.mkdir(parents=True)
    size = (staged / SAFETENSORS_WEIGHTS_NAME).stat().st_size
    if size > LARGEST:
        halved(load(staged)).save_pretrained(out, max_shard_size=LARGEST if size <= 2 * LARGEST else PART)
    else:
        shutil.copyfile(staged / SAFETENSORS_WEIGHTS_NAME, out / SAFETENSORS_WEIGHTS_NAME)
    shutil.copyfile(staged / "config.json", out / "config.json")


def halved(network: ModelMixin) -> ModelMixin:
    """Parameters in float16, in place; buffers, such as tables and BatchNorm's statistics, stay as they are."""
    for weights in network.parameters():
        weights.data = weights.data.half()
    return network


def hashes(folder: Path) -> dict[str, Any]:
    """Of each network's weights by its key of `HASHED`; with `_of_parts` those of its parts by name, if several."""
    found: dict[str, Any] = {}
    for key, name in HASHED.items():
        parts = {path.name: file_sha256(path) for path in sorted((folder / name).parent.glob("*.safetensors"))}
        if parts:
            found |= {f"{key}_of_parts": parts} if len(parts) > 1 else {key: parts[Path(name).name]}
    return found


def ship(config: Config, staged: Path, origin: Mapping[str, Any]) -> None:
    """Copy a trained teacher to assets/<system>/teacher and write where it comes from and how well it draws.

    `origin` goes into its provenance: the command that trained it, on what device and for how many seconds. The scores
    are means over `SETS` sets of `SAMPLES` each.
    """
    out, dataset = Path("assets", config.system, "teacher"), Places(config.system).dataset
    place_teacher(staged, out)
    settings = config.evaluate.solver, config.evaluate.num_steps, config.evaluate.timestep_spacing
    setting = Setting(config.guidance_scale, *settings)
    scores = Bench(config, out).row(setting, SAMPLES, SETS)
    training = read_json(staged / "training.json")
    recipe = config.teacher.training
    provenance = {
        "seed": config.seed,
        "params": config.teacher.model_dump(mode="json"),
        "images_seen": training["steps"] * recipe.batch_size if recipe else None,
        "dataset_sha256": {path.name: file_sha256(path) for path in sorted(dataset.iterdir())},
        "scores": {name: value for name, value in scores.items() if not name.startswith("seconds")},
        "sampler": setting._asdict(),
        "torch": version("torch"),
        "diffusers": version("diffusers"),
        **origin,
        **hashes(out),
        **training,
    }
    save_json(out / "provenance.json", provenance)


def check_trained(config: Config, staged: Path) -> None:
    """Hold what the stage `teacher` left against the params, as far as its files tell.

    Raises:
        ValueError: it is not there, was not trained here, by another seed or for other steps, or is not whole.
    """
    found, recipe = read_json(staged / "provenance.json"), config.teacher.training
    if recipe is None or found.get("source") != "train":
        raise ValueError(f"{staged}: not trained by {config.file}; set teacher.source to train and run the stage")
    codec = config.teacher.codec and config.teacher.codec.training
    wanted = {"seed": config.seed, "steps": recipe.steps, "codec.steps": codec.steps if codec else None}
    facts = read_json(staged / "training.json")
    steps = {"steps": facts.get("steps"), "codec.steps": facts.get("codec", {}).get("steps")}
    made = {"seed": found.get("seed"), **steps}
    if made != wanted:
        raise ValueError(f"{staged}: made by {made}, but {config.file} says {wanted}; run the stage `teacher` again")
    check_provenance(staged, required=True)


def main(config: Config) -> None:
    """Ship models/<system>/teacher, which the stage `teacher` has trained by this params file: minutes, for scores."""
    staged = Places(config.system).teacher
    check_trained(config, staged)
    untold = {"seconds": None, "device": None}  # the stage does not keep them: its output is the same wherever it runs
    ship(config, staged, {"command": f"python -m stages.teacher {config.file}, with teacher.source: train", **untold})


if __name__ == "__main__":
    cli.run(main)
