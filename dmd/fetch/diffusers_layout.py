"""The layouts of a pretrained diffusers model: its files at the top of a folder, or in the folders of its pipeline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFETENSORS_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

from dmd.fetch.distilled import refuse_distilled
from dmd.fetch.pointers import refuse_pointer
from dmd.models.codec import FOLDER
from dmd.models.latent_pipelines import parts_of
from dmd.models.text import ENCODER, check_text
from dmd.runtime.handed import HandedError, read_json

DESCRIPTIONS = (
    "model_index.json",
    "config.json",
    "scheduler_config.json",
    "unet/config.json",
    "transformer/config.json",
    "vae/config.json",
    "vqvae/config.json",
    f"{FOLDER}/config.json",
    f"{ENCODER}/config.json",
    "scheduler/scheduler_config.json",
)
"""The small files of all layouts: what the model is, without its weights."""

CONFIG = "config.json"

VARIANTS = ("", "fp16", "bf16")
"""diffusers' names of the precisions that weights are stored in; the whole one has none."""

WEIGHTS = (SAFETENSORS_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)
"""diffusers' names of weights: in one file, or in the parts that an index names; safetensors, or an older pickle."""

TEXT_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""The same by transformers' names."""

LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of a text-to-image pipeline that neither teacher nor generator need."""


@dataclass(frozen=True)
class Layout:
    """Where the parts of a model lie, as paths inside a folder."""

    config: str
    scheduler_config: str
    codec_config: str | None = None
    """Of a model of latents."""
    text_config: str | None = None
    """Of a model that is told prompts: its text encoder's."""

    @classmethod
    def find(cls, folder: Path) -> "Layout":
        """The layout of the model in `folder`.

        Raises:
            ValueError: a description is missing, the model was distilled already, or the pipeline has parts that none
                of those known has.
        """
        index = read_object(folder / "model_index.json") if (folder / "model_index.json").is_file() else {}
        network, codec, text = parts_of(index.get("_class_name"))
        config = _first(folder, f"{network}/{CONFIG}", CONFIG)
        scheduler_config = _first(folder, "scheduler/scheduler_config.json", "scheduler_config.json")
        refuse_distilled(index, read_object(folder / scheduler_config))
        known = {network, codec, "scheduler", *text, *(LEFT_OUT if text else ())}
        parts = {key for key, value in index.items() if isinstance(value, list) and key[:1] != "_" and any(value)}
        if others := sorted(parts - known):
            raise ValueError(
                f"{folder / 'model_index.json'}: the pipeline has {', '.join(others)} besides a {network} and a "
                "scheduler; such a model cannot be distilled here: name another teacher.source"
            )
        if codec is not None:
            described = _first(folder, f"{ENCODER}/{CONFIG}") if text else None
            return cls(config, scheduler_config, _first(folder, f"{codec}/{CONFIG}"), described)
        flat = config == CONFIG  # as the stage `teacher` writes it
        own = [f"{part}/{CONFIG}" for part in (FOLDER, ENCODER)]
        return cls(config, scheduler_config, *(path if flat and (folder / path).is_file() else None for path in own))

    @property
    def weights(self) -> list[str]:
        """Where the weights may lie, beside the model's config: the best first."""
        return weights_beside(self.config)

    def describe(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """The configs of model and scheduler, the network's class by its name of today.

        Raises:
            ValueError: a file is no JSON object; names it.
        """
        config = read_object(folder / self.config)
        if config.get("_class_name") == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero":
            config["_class_name"] = "DiTTransformer2DModel"
        return config, read_object(folder / self.scheduler_config)

    def describe_codec(self, folder: Path) -> dict[str, Any] | None:
        """The config of the codec; None for a model of pixels.

        Raises:
            ValueError: the file is no JSON object; names it.
        """
        return None if self.codec_config is None else read_object(folder / self.codec_config)

    def describe_text(self, folder: Path) -> dict[str, Any] | None:
        """The config of the text encoder; None for a model that is told no prompts.

        Raises:
            ValueError: the file is no JSON object, or the encoder not one that is known.
        """
        if self.text_config is None:
            return None
        found = read_object(folder / self.text_config)
        check_text(found)
        return found


def weights_beside(config: str) -> list[str]:
    """Where the weights of a network may lie, beside its config: the best first."""
    usual = TEXT_WEIGHTS if config == f"{ENCODER}/{CONFIG}" else WEIGHTS
    names = [_variant(name, variant) for variant in VARIANTS for name in usual]
    return [config.removesuffix(CONFIG) + name for name in names]


def _first(folder: Path, *places: str) -> str:
    """Where a description lies, of these places the first that has a file."""
    for place in places:
        if (folder / place).is_file():
            return place
    missing = f"neither {' nor '.join(places)}" if len(places) > 1 else f"no {places[0]}"
    raise ValueError(f"teacher.source: {folder} holds {missing}; name another model")


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
