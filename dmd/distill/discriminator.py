"""Discriminators of noisy images: log-odds that a noisy image is a real one.

They see images through noise, as the scores do: so real and generated ones overlap, and the log-odds stay finite.
"""

from typing import Any

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn import functional

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.models.backbones import bottleneck
from dmd.types import Images, Labels, PerSample, Timesteps

SMALLEST = 4
"""Images are halved until their height is at most this."""

GROUPS = 8
"""Of GroupNorm."""


class BottleneckDiscriminator:
    """The mean over channels and places of the fake score's bottleneck: a head without weights (SiDA, 2410.14919).

    Its loss trains the fake score beside the denoising loss.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        """Listen to the bottleneck of the network of `denoiser`.

        Raises:
            ValueError: the network has no bottleneck that is known.
        """
        self.denoiser = denoiser
        self._heard: list[Tensor] = []
        bottleneck(denoiser.backbone).register_forward_hook(self._listen)

    def _listen(self, module: nn.Module, args: Any, output: Any) -> None:
        self._heard[:] = [output[0] if isinstance(output, tuple) else output]

    def heard(self) -> PerSample:
        """The logits [B] of the network's last pass."""
        return self._heard.pop().float().flatten(1).mean(1)

    def logits(self, x_t: Images, t: Timesteps, labels: Labels | None = None) -> PerSample:
        """The logits [B] of a pass of its own."""
        self.denoiser(x_t, t, labels)
        return self.heard()


class ConvolutionalDiscriminator(nn.Module):
    """A small network of its own: strided convolutions that know time and class, and a projection onto the class.

    The logit is w · h + <v_class, h> of the mean feature h (Miyato & Koyama 2018, arXiv 1802.05637).
    """

    def __init__(
        self, image_shape: tuple[int, ...], width: int, num_classes: int | None, schedule: NoiseSchedule
    ) -> None:
        """For images [C, H, W]; `width` channels after the first halving, twice as many after each, at most four times.

        Raises:
            ValueError: `width` is not a multiple of GROUPS.
        """
        super().__init__()
        if width % GROUPS:
            raise ValueError(f"distill.discriminator.width {width} is not a multiple of {GROUPS}; take one")
        channels, height = image_shape[0], image_shape[1]
        self.schedule, widths = schedule, [width]
        while height // 2 ** len(widths) > SMALLEST:
            widths.append(min(2 * widths[-1], 4 * width))
        self.embed = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))
        self.classes = nn.Embedding(num_classes, 4 * width) if num_classes else None
        self.blocks = nn.ModuleList(
            _Block(before, after, 4 * width) for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.head = nn.Linear(widths[-1], 1)
        self.projection = nn.Embedding(num_classes, widths[-1]) if num_classes else None
        self.width = width
        nn.init.zeros_(self.head.weight)
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)

    def forward(self, x_t: Images, t: Timesteps, labels: Labels | None = None) -> PerSample:
        """Logits [B]; zero before any training."""
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        level = 250 * (sigma / alpha).log().float()  # on the scale of timesteps
        condition = self.embed(get_timestep_embedding(level, self.width))
        if self.classes is not None and labels is not None:
            condition = condition + self.classes(labels)
        hidden = scale(x_t, (alpha**2 + sigma**2).rsqrt())
        for block in self.blocks:
            hidden = block(hidden, condition)
        feature = hidden.mean(dim=(2, 3))
        logits = self.head(feature)[:, 0]
        if self.projection is not None and labels is not None:
            logits = logits + (self.projection(labels) * feature).sum(1)
        return logits

    def logits(self, x_t: Images, t: Timesteps, labels: Labels | None = None) -> PerSample:
        """The same, by the name that both kinds have."""
        return self(x_t, t, labels)


class _Block(nn.Module):
    """Two convolutions with the condition between them; the second halves the image."""

    def __init__(self, before: int, after: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1)
        self.condition = nn.Linear(condition, 2 * after)
        self.norm = nn.GroupNorm(GROUPS, after, affine=False)
        self.second = nn.Conv2d(after, after, 4, stride=2, padding=1)

    def forward(self, x: Images, condition: Tensor) -> Images:
        factor, shift = self.condition(functional.silu(condition))[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm(self.first(x)) * (1 + factor) + shift
        return functional.silu(self.second(functional.silu(hidden)))


Discriminator = BottleneckDiscriminator | ConvolutionalDiscriminator
"""Either kind; `logits(x_t, t, labels)` gives log-odds."""


def build_discriminator(
    kind: str, width: int, denoiser: Denoiser, image_shape: tuple[int, ...], num_classes: int | None, seed: int
) -> Discriminator:
    """A discriminator of a kind; the weights of one with its own are a function of the seed.

    Raises:
        ValueError: the network has no bottleneck that is known, or the width does not fit.
    """
    if kind == "bottleneck":
        return BottleneckDiscriminator(denoiser)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConvolutionalDiscriminator(image_shape, width, num_classes, denoiser.schedule)
