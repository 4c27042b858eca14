"""What was evaluated, on what: the facts that stand beside the scores."""

from typing import Any

import torch
from pydantic import BaseModel, Field

from dmd.params.sampling import Evaluate
from dmd.runtime.files import file_sha256, folder_sha256
from dmd.runtime.handed import read_json
from dmd.runtime.places import Places


class PipelineIndex(BaseModel):
    """What is needed of a generator's model_index.json."""

    class_name: str | tuple[str, str] = Field(alias="_class_name")


class Speed(BaseModel):
    """What is needed of a distillation's speed.json."""

    images_per_second: float


class Training(BaseModel):
    """What is needed of a distillation's training.json."""

    parameters: int


def distill_images_per_second(places: Places) -> float:
    """How fast the distillation trained, as it measured."""
    return read_json(places.training / "speed.json", Speed)["images_per_second"]


def facts(places: Places, settings: Evaluate, perceptual: str, seed: int, device: torch.device) -> dict[str, Any]:
    """Nets, sizes, seed, device and version; the generator's size and class; the teacher's origin; content hashes."""
    origin = read_json(places.teacher / "provenance.json")
    pipeline = read_json(places.generator / "model_index.json", PipelineIndex)["_class_name"]
    return {
        "features": settings.features,
        "perceptual": perceptual,
        "num_samples": settings.num_samples,
        "num_sets": settings.num_sets,
        "seed": seed,
        "parameters": read_json(places.training / "training.json", Training)["parameters"],
        "pipeline": pipeline if isinstance(pipeline, str) else pipeline[-1],
        "device": device.type,
        "torch": torch.__version__.split("+")[0],
        **{f"teacher_{key}": origin[key] for key in ("source", "revision", "note") if key in origin},
        "teacher_sha256": folder_sha256(places.teacher),
        "pairs_sha256": file_sha256(places.pairs / "manifest.csv"),
        "dataset_sha256": folder_sha256(places.dataset),
    }
