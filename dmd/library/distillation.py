"""A distillation in memory: from a teacher and its pairs to a generator of one call."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn

from dmd.datasets.registry import to_pixels
from dmd.diffusion.generator import Generator
from dmd.distill.batches import RealImages
from dmd.distill.distiller import Distiller
from dmd.distill.loop import Distillation
from dmd.features.perceptual import PixelDistance
from dmd.library.pairs import MemoryStore, Pairs, check_labels
from dmd.library.settings import ALPHA, default_settings
from dmd.library.teacher import OwnTeacher
from dmd.models.codec import Codec
from dmd.params.distill import Distill
from dmd.types import Images, Labels


class Distilled(NamedTuple):
    """What a distillation gives."""

    generator: Generator
    """`generator(z, labels)` draws images from z ~ N(0, I) with one network call; in eval mode, on its device."""
    losses: pd.DataFrame
    """A row an update."""
    health: pd.DataFrame
    """A row every `health_steps` updates; `dmd.distill.health.Health` says what each column is."""


def distill_generator(
    teacher: OwnTeacher,
    pairs: Pairs,
    settings: Distill | None = None,
    *,
    alpha: float = ALPHA,
    images: Images | None = None,
    labels: Labels | None = None,
    perceptual: nn.Module | None = None,
    seed: int = 0,
) -> Distilled:
    """Distil the teacher by distribution matching (Yin et al. 2024, arXiv 2311.18828), on the device accelerate finds.

    The teacher stays as it is. A run that is cut off is lost: one that must not be belongs into the pipeline.

    Args:
        teacher: the model.
        pairs: of `draw_pairs`, or brought; the student's regression, and what its health is held against.
        settings: of `default_settings`, which are taken if there are none.
        alpha: weight of the regression; 0 for matching alone.
        images: real ones, [N, C, H, W] in [-1, 1], where `settings.discriminator.kind` is set.
        labels: of the real images, [N].
        perceptual: the regression's distance, a module `(x, y) -> [B]`; the mean squared pixel difference if none.
        seed: of all that is drawn.

    Raises:
        ValueError: pairs, images or settings do not fit the teacher.
        FloatingPointError: a loss is not finite; names the step.
    """
    settings = settings or default_settings(teacher)
    store = MemoryStore(pairs, teacher.image_shape, teacher.num_classes)
    real = None if images is None else _real(images, labels, teacher)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of a discriminator's first weights
        distiller = _build(teacher, store, settings, perceptual, real, alpha, pairs.guidance_scale, seed)
    return _run(distiller)


def _build(
    teacher: OwnTeacher,
    store: MemoryStore,
    settings: Distill,
    perceptual: nn.Module | None,
    real: RealImages | None,
    alpha: float,
    guidance_scale: float,
    seed: int,
) -> Distiller:
    return Distiller(
        teacher.denoiser,
        store,
        perceptual or PixelDistance(settings.perceptual.resolution),
        settings,
        regression_weight=alpha,
        guidance_scale=guidance_scale,
        num_classes=teacher.num_classes,
        seed=seed,
        real=real,
    )


def _run(distiller: Distiller) -> Distilled:
    """All updates, with what a run keeps on disk in a folder that goes with it."""
    settings = distiller.settings
    with TemporaryDirectory(prefix="dmd-") as work:
        epochs, every = settings.history_epochs, settings.checkpoint_steps
        run = Distillation(distiller, Codec(distiller.pairs.image_shape), Path(work), settings.steps, epochs, every)
        run.run()
    return Distilled(distiller.student.generator, pd.DataFrame(run.rows), pd.DataFrame(run.health))


def _real(images: Images, labels: Labels | None, teacher: OwnTeacher) -> RealImages:
    if tuple(images.shape[1:]) != teacher.image_shape:
        raise ValueError(f"images have the shape {tuple(images.shape[1:])}, the teacher's {teacher.image_shape}")
    check_labels("labels", labels, len(images), teacher.num_classes)
    return RealImages(to_pixels(images).cpu(), None if labels is None else labels.long().cpu())
