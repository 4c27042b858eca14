"""A teacher of one's own: any `nn.Module` that predicts noise, velocity or image, and its noise schedule."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.schedule import NoiseSchedule
from dmd.types import Images, Labels, Timesteps


class OwnNetwork(nn.Module):
    """`network(x_t, t)`, with classes `network(x_t, t, labels)`, called as networks are called here."""

    def __init__(self, network: nn.Module, num_class_embeds: int | None) -> None:
        """Wrap `network`; `num_class_embeds` counts its classes, a null class too."""
        super().__init__()
        self.network = network
        self.config = SimpleNamespace(num_class_embeds=num_class_embeds)

    def forward(
        self, x_t: Images, t: Timesteps, class_labels: Labels | None = None, return_dict: bool = False
    ) -> tuple[Images]:
        """What the network predicts, alone in a tuple.

        Raises:
            ValueError: that is no tensor of the shape of `x_t`.
        """
        output = self.network(x_t, t) if class_labels is None else self.network(x_t, t, class_labels)
        if not isinstance(output, Tensor) or output.shape != x_t.shape:
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"the network gave {found} for images {tuple(x_t.shape)}; it must return a tensor of the same shape"
            )
        return (output,)


@dataclass(frozen=True)
class OwnTeacher:
    """A network that was trained to denoise, and all that must be known of it.

    Raises:
        ValueError: no parameter of the network can learn, since the student starts as its copy; or the prediction is
            not known, or the schedule is not variance preserving.
    """

    network: nn.Module
    """From noisy images [B, C, H, W], timesteps [B] in 0 … T-1 and, with classes, labels [B] to a prediction.

    That has the shape of the images. A network of diffusers' is taken as it is.
    """
    schedule: NoiseSchedule
    """`x_t = alpha_t x0 + sigma_t eps`, with alpha² + sigma² = 1: `NoiseSchedule.from_betas` or `from_scheduler`."""
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    prediction_type: str = "epsilon"
    """`epsilon`, `v_prediction` (alpha eps - sigma x0) or `sample` (x0)."""
    num_classes: int | None = None
    """Classes of the labels; None for a network that takes none."""
    null_class: bool = False
    """Whether label `num_classes` means none to the network, which guidance needs."""

    def __post_init__(self) -> None:
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ValueError("no parameter of the network requires a gradient; call network.requires_grad_(True)")
        t = torch.arange(self.schedule.num_timesteps)
        total = self.schedule.alpha(t) ** 2 + self.schedule.sigma(t) ** 2
        if not torch.allclose(total, torch.ones_like(total), atol=1e-6):
            raise ValueError(f"alpha² + sigma² is {total.min():.3g} … {total.max():.3g}; take a schedule where it is 1")
        self.denoiser  # noqa: B018 (refuses an unknown prediction)

    @property
    def denoiser(self) -> Denoiser:
        """The network as a denoiser, `(x_t, t, labels) -> x0`; shares its weights."""
        embeds = None if self.num_classes is None else self.num_classes + self.null_class
        own = self.network if isinstance(self.network, ModelMixin) else OwnNetwork(self.network, embeds)
        return Denoiser(own, self.schedule, self.prediction_type)

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The schedule as diffusers' solvers take it: beta_t = 1 - alpha_t² / alpha_{t-1}²."""
        alpha_bar = self.schedule.alpha(torch.arange(self.schedule.num_timesteps)) ** 2
        betas = 1 - alpha_bar / torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
        return {
            "num_train_timesteps": len(betas),
            "trained_betas": betas.tolist(),
            "prediction_type": self.prediction_type,
            "clip_sample": False,
        }
