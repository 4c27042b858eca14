"""The text of a text-to-image teacher: tokenizer and encoder, whose files travel with it, and prompts, encoded once.

Both are classes of `transformers`, which the extra `text` brings and only these functions import.
"""

import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dmd.diffusion.prompts import Prompts
from dmd.models.backbones import check_values
from dmd.runtime.files import load_tensors, save_tensors
from dmd.runtime.handed import read_tensors
from dmd.types import Encoded

ENCODER, TOKENIZER = PARTS = ("text_encoder", "tokenizer")
"""Folders of the files, in a pipeline and in a teacher's folder."""

WEIGHTS = "model.safetensors"
"""Of the encoder, by transformers' name."""

VOCABULARIES = ("vocab.json", "tokenizer.json")
TOKENIZER_FILES = (
    *VOCABULARIES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Of the tokenizer, by transformers' names, of today and before."""

TEXTS, ENCODED = "prompts.csv", "prompts/encoded.safetensors"
"""Prompts beside a teacher: as `fetch` brings them, and encoded."""

NULL_PROMPT = ""
"""What guidance compares with: the text that a text-to-image model is trained on where a caption is dropped."""

BATCH = 64


class Text(NamedTuple):
    """A tokenizer and the encoder of its tokens."""

    tokenizer: Any
    encoder: Any


def check_text(config: Mapping[str, Any]) -> None:
    """Hold the config of a text encoder, before its weights are brought.

    Raises:
        ValueError: it is of another class than CLIP's text model, or has no width; names the key.
    """
    for key, wanted in (("architectures", ["CLIPTextModel"]), ("hidden_size", None)):
        found = config.get(key)
        if found != wanted if wanted else not (isinstance(found, int) and found > 0):
            raise ValueError(
                f"{ENCODER}/config.json: {key} is {found!r:.100}, but this pipeline needs "
                f"{wanted or 'a whole number'}; set teacher.source to a teacher that fits"
            )


def check_installed() -> None:
    """Hold a text-to-image system against what is installed.

    Raises:
        ValueError: `transformers` is not; names the cure.
    """
    if find_spec("transformers") is None:
        raise ValueError(
            "the teacher is told prompts, and reading them needs transformers; install the extra `text` of this project"
        )


def load_text(folder: Path) -> Text:
    """The tokenizer and the encoder, in eval mode on the CPU, of a folder with both.

    Raises:
        ValueError: `transformers` is not installed, or a file is missing or broken; names the cure.
    """
    check_installed()
    from transformers import CLIPTextModel, CLIPTokenizer  # not there without the extra

    check_values(folder / ENCODER)
    tokenizer = _read(CLIPTokenizer, folder / TOKENIZER)
    asked = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    encoder, found = _read(CLIPTextModel, folder / ENCODER, **asked)
    wrong = {kind: sorted(map(str, found[kind]))[:3] for kind in ("missing_keys", "mismatched_keys") if found[kind]}
    if wrong:
        raise ValueError(f"{folder / ENCODER}: the weights do not fit config.json: {wrong}; restore both")
    _check_words(tokenizer, encoder.config, folder / TOKENIZER)
    return Text(tokenizer, encoder.float().eval())


def _read(kind: Any, folder: Path, **asked: bool) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, **asked)
    except (OSError, RuntimeError, TypeError, KeyError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"{folder} cannot be read: {said}; restore its files") from error


def _check_words(tokenizer: Any, encoder: Any, folder: Path) -> None:
    """Hold a tokenizer against the config of the encoder that reads its tokens."""
    longest, known = encoder.max_position_embeddings, encoder.vocab_size
    if tokenizer.model_max_length > longest:
        raise ValueError(
            f"{folder}/tokenizer_config.json: model_max_length is {tokenizer.model_max_length:.4g}, but the text "
            f"encoder takes {longest} tokens; restore the file"
        )
    if len(tokenizer) > known:
        raise ValueError(
            f"{folder}: it has {len(tokenizer)} tokens, but the text encoder knows {known}; restore both folders"
        )


@torch.no_grad()
def encode(text: Text, prompts: Sequence[str]) -> Encoded:
    """Prompts as `StableDiffusionPipeline` encodes them, all of the tokenizer's length, float32, [N, L, D]."""
    from diffusers import StableDiffusionPipeline  # slow to import, and not there without the extra

    parts = {"vae": None, "unet": None, "scheduler": None, "safety_checker": None, "feature_extractor": None}
    pipeline = StableDiffusionPipeline(
        tokenizer=text.tokenizer, text_encoder=text.encoder, requires_safety_checker=False, **parts
    )
    device = text.encoder.device
    batches = [list(prompts[first : first + BATCH]) for first in range(0, len(prompts), BATCH)]
    return torch.cat([pipeline.encode_prompt(batch, device, 1, False)[0].float().cpu() for batch in batches])


def encode_prompts(text: Text, train: Sequence[str], held_out: Sequence[str]) -> Prompts:
    """The prompts of both splits and the null prompt, encoded."""
    return Prompts(encode(text, train), encode(text, [NULL_PROMPT]), encode(text, held_out))


def save_prompts(teacher: Path, prompts: Prompts) -> None:
    """Write into a teacher's folder `train` [N, L, D], `null` [1, L, D], `held_out` [M, L, D]."""
    tensors = {"train": prompts.train, "null": prompts.null, "held_out": prompts.held_out}
    (teacher / ENCODED).parent.mkdir(exist_ok=True)
    save_tensors(teacher / ENCODED, {name: tensor for name, tensor in tensors.items() if tensor is not None})


def load_prompts(teacher: Path) -> Prompts | None:
    """Read what `save_prompts` wrote into a teacher's folder, mapped from the file; None where it has no prompts.

    Raises:
        HandedError: they are broken; names the file.
    """
    path = teacher / ENCODED
    if not path.parent.is_dir():
        return None
    tensors = {name: read_tensors(path, {name: 3})[name] for name in ("train", "held_out")}
    return Prompts(tensors["train"], load_tensors(path).get("null"), tensors["held_out"])


def copy_text(source: Path, out: Path) -> None:
    """Copy the files of tokenizer and encoder, and the prompts if they are there, from one folder to another."""
    for part in PARTS:
        shutil.copytree(source / part, out / part)
    if (source / TEXTS).is_file():
        shutil.copyfile(source / TEXTS, out / TEXTS)
