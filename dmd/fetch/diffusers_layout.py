"""The two layouts of a pretrained diffusers model: its files at the top of a folder, or in `unet/` and `scheduler/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFETENSORS_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

from dmd.fetch.pointers import refuse_pointer
from dmd.runtime.handed import HandedError, read_json

DESCRIPTIONS = (
    "model_index.json",
    "config.json",
    "scheduler_config.json",
    "unet/config.json",
    "scheduler/scheduler_config.json",
)
"""The small files of both layouts: what the model is, without its weights."""

PARTS = ("unet", "scheduler")

VARIANTS = ("", "fp16", "bf16")
"""diffusers' names of the precisions that weights are stored in; the whole one has none."""

WEIGHTS = (SAFETENSORS_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
"""diffusers' names of weights: in one file, or in the parts that an index names; safetensors, or an older pickle."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of a model lie, as paths inside a folder."""

    config: str
    scheduler_config: str

    @classmethod
    def find(cls, folder: Path) -> "Layout":
        """The layout of the model in `folder`.

        Raises:
            ValueError: a description is missing, or the pipeline has parts that no pixel-space UNet has.
        """
        found = []
        for part, name in zip(PARTS, ("config.json", "scheduler_config.json"), strict=True):
            places = [place for place in (f"{part}/{name}", name) if (folder / place).is_file()]
            if not places:
                raise ValueError(f"teacher.source: {folder} holds neither {part}/{name} nor {name}; name another model")
            found.append(places[0])
        if (folder / "model_index.json").is_file():
            index = read_object(folder / "model_index.json")
            parts = {key for key, value in index.items() if isinstance(value, list) and key[:1] != "_" and any(value)}
            if others := sorted(parts - set(PARTS)):
                raise ValueError(
                    f"{folder / 'model_index.json'}: the pipeline has {', '.join(others)} besides a unet and a "
                    "scheduler; only models of pixels can be distilled here: name another teacher.source"
                )
        return cls(*found)

    @property
    def weights(self) -> list[str]:
        """Where the weights may lie, beside the model's config: the best first."""
        names = [_variant(name, variant) for variant in VARIANTS for name in WEIGHTS]
        return [self.config.replace("config.json", name) for name in names]

    def describe(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configs of model and scheduler.

        Raises:
            ValueError: a file is no JSON object; names it.
        """
        return read_object(folder / self.config), read_object(folder / self.scheduler_config)


def _variant(name: str, variant: str) -> str:
    """diffusers puts a variant's name before the last ending."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{variant}.{ending}" if variant else name


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file's keys and values.

    Raises:
        ValueError: the file is no JSON object, or a Git-LFS pointer; names it.
    """
    refuse_pointer(path)
    try:
        value: dict[str, Any] = read_json(path)
    except HandedError as error:
        raise ValueError(f"{path} {error.what}; restore the file") from error
    return value
