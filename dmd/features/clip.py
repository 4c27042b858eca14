"""The CLIP score: how well images fit their prompts, by a network that embeds both (Radford et al. 2021).

`cos(E_image(x), E_text(p))` (Hessel et al. 2021, arXiv 2104.08718, without its factor of 2.5), as papers report it.
Numbers of two CLIP networks cannot be compared.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dmd.features.channels import three_channels
from dmd.types import Images, PerSample


class ClipScore(nn.Module):
    """A network of transformers with its own preparation of images and texts; frozen."""

    def __init__(self, model: Any, processor: Any) -> None:
        """Take a `CLIPModel` and its `CLIPProcessor`."""
        super().__init__()
        self.model, self.processor = model.eval().requires_grad_(False), processor

    @torch.no_grad()
    def forward(self, images: Images, prompts: Sequence[str]) -> PerSample:
        """The cosine of each image, in [-1, 1], with its own prompt; too long a prompt is cut."""
        pixels = ((three_channels(images).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        told = self.processor(
            text=list(prompts), images=list(pixels.cpu()), return_tensors="pt", padding=True, truncation=True
        )
        found = self.model(**told.to(images.device))
        return nn.functional.cosine_similarity(found.image_embeds, found.text_embeds)


def load_clip(folder: Path) -> ClipScore:
    """The score by the model of a folder in transformers' format: weights as safetensors, tokenizer, image processor.

    Raises:
        ValueError: `transformers` is not installed, or the folder is not there or not whole; names the cure.
    """
    if find_spec("transformers") is None:
        raise ValueError("evaluate.clip needs transformers; install the extra `text` of this project, or set null")
    from transformers import CLIPModel, CLIPProcessor  # not there without the extra

    try:
        model, report = CLIPModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, RuntimeError, TypeError, KeyError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"evaluate.clip {folder}: no CLIP model in transformers' format: {said}; put one there, or set it to null"
        ) from error
    absent = [*report["missing_keys"], *report["mismatched_keys"]]
    wrong = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if absent or wrong:
        raise ValueError(
            f"evaluate.clip {folder}: the weights do not fit config.json, or are not finite: {(absent + wrong)[0]}; "
            "fetch them again"
        )
    return ClipScore(model.float(), processor)
