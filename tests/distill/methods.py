"""Small distillers of every method, for tests."""

from pathlib import Path
from typing import Any

import torch

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.distill.batches import RealImages
from dmd.distill.distiller import Distiller
from dmd.features.perceptual import build_perceptual
from dmd.params.distill import Distill
from tests.distill.test_distiller import SETTINGS

NOISE = (0.05, 8.0)
CONVOLUTIONAL = {"kind": "convolutional", "weight": 0.1, "width": 8}
BOTTLENECK = {"kind": "bottleneck", "weight": 0.1, "fake_weight": 0.5}
TWO = (60, 20)


def real_images(count: int = 20) -> RealImages:
    """Stripes, each class at another place."""
    pixels = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    labels = torch.arange(count) % 4
    for i, label in enumerate(labels.tolist()):
        pixels[i, :, :, 2 * label] = 200 + i
    return RealImages(pixels, labels)


def build_method(
    teacher: Denoiser,
    pairs: PairStore,
    *,
    matching: dict[str, Any] | None = None,
    discriminator: dict[str, Any] | None = None,
    alpha: float = 0.5,
    guidance: float = 1.0,
    num_classes: int | None = 4,
    perceptual: torch.nn.Module | None = None,
    **changes: Any,
) -> Distiller:
    """A distiller with this matching loss and this discriminator; all else as in the plain tests."""
    parts = {"matching": {"loss": "dmd", "noise": NOISE, **(matching or {})}, "discriminator": discriminator or {}}
    return Distiller(
        teacher,
        pairs,
        build_perceptual("pixel", 8, Path()) if perceptual is None else perceptual,
        Distill(**{**SETTINGS.model_dump(), "warmup_steps": 0, **parts, **changes}),
        regression_weight=alpha,
        guidance_scale=guidance,
        num_classes=num_classes,
        seed=0,
        real=real_images(),
    )
