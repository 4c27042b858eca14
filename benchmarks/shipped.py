"""What is measured: the default system with the teacher that ships in assets/; real images are those of its `fetch`.

Another system's network, whose weights do not ship, has initial ones: time and memory do not depend on them.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dmd.datasets.labels import stored_labels
from dmd.datasets.pairs import PairStore, shard_rows, write_shards
from dmd.datasets.registry import Split, load_dataset
from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.guidance import with_guidance
from dmd.distill.distiller import Distiller
from dmd.features.perceptual import build_perceptual
from dmd.models.teacher import Teacher
from dmd.params.config import Config, load_config
from dmd.params.matching import Discriminator, Matching
from dmd.types import Pixels
from stages.teacher import fresh

PARAMS = Path("params.yaml")
CIFAR10 = Path("pipelines") / "cifar10" / "params.yaml"


PLAIN: dict[str, Any] = {
    "matching": Matching(loss="dmd", noise=(0.01, 1000.0)),
    "discriminator": Discriminator(),
    "num_fake_updates": 1,
    "fake_warmup_updates": 0,
    "fake_noise": None,
}
"""The method that public code times: one fake update, no discriminator, all timesteps."""


class Shipped:
    """Params, teacher and random inputs of a system."""

    def __init__(self, params: Path = PARAMS) -> None:
        """Load the teacher that `teacher.source` names; where that is no folder, one with initial weights."""
        self.config: Config = load_config(params)
        self.folder = Path(self.config.teacher.source)
        self.teacher = Teacher.load(self.folder) if self.folder.is_dir() else fresh(self.config)
        self.classes = self.config.dataset.num_classes

    @property
    def guided(self) -> BaseDenoiser:
        """The teacher with the params' guidance."""
        return with_guidance(self.teacher.denoiser, self.config.guidance_scale, self.classes)

    def noise(self, count: int, seed: int = 0) -> Tensor:
        """Standard normal noise [count, C, H, W], as a diffusers pipeline draws it from a generator with `seed`."""
        return torch.randn((count, *self.config.dataset.image_shape), generator=torch.Generator().manual_seed(seed))

    def labels(self, count: int) -> Tensor | None:
        """The classes in turn."""
        return None if self.classes is None else torch.arange(count) % self.classes

    def real_images(self, split: Split) -> Pixels:
        """The real images of a split, uint8.

        Raises:
            ValueError: they are not there; names the cure.
        """
        folder = Path("data") / self.config.system / "dataset"
        if not folder.is_dir():
            raise ValueError(f"{folder}: no real images to compare with; run `dvc repro fetch` first")
        return load_dataset(self.config.dataset.name, folder, split)[0]

    def forward(self, count: int) -> Callable[[], Any]:
        """One plain pass of the network on a batch of `count`, without gradient: the unit of all floors."""
        x, t, labels = self.noise(count), torch.full((count,), 600), self.labels(count)
        backbone = self.teacher.backbone.eval()

        def run() -> None:
            with torch.inference_mode():
                backbone(x, t, class_labels=labels, return_dict=False)

        return run

    def write_pairs(self, count: int) -> Path:
        """A folder of `count` pairs of random images: their values do not matter to time or memory."""
        labels = self.labels(count)
        index = torch.arange(count)
        pairs = {"z": self.noise(count), "x0": self.noise(count, 1).clamp(-1, 1), "index": index}
        pairs["label"] = stored_labels(labels, count)
        folder = Path(tempfile.mkdtemp(prefix="dmd-benchmark-"))
        shards = shard_rows(count, self.config.pairs.shard_size)
        write_shards(folder, shards, lambda rows: {name: part[list(rows)] for name, part in pairs.items()}, {})
        return folder

    def distiller(self, pairs: Path, **changes: Any) -> Distiller:
        """Plain distribution matching with the sizes and rates of the params, with other settings where given."""
        return Distiller(
            self.teacher.denoiser,
            PairStore(pairs),
            build_perceptual("pixel", self.config.dataset.image_shape[1], Path()),
            self.config.distill.model_copy(update=PLAIN | changes),
            regression_weight=self.config.alpha,
            guidance_scale=self.config.guidance_scale,
            num_classes=self.classes,
            seed=0,
        )


def count_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
