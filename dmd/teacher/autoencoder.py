"""An autoencoder for a teacher of latents: made, trained on the images, and its scale measured.

A variational one with a small weight on its divergence (Kingma & Welling 2014, arXiv 1312.6114, eq. 10; Rombach et al.
2022, arXiv 2112.10752, appendix G): `L = mean (x - D(z))² + w KL(N(m, s²) | N(0, I)) / latents`, `z = m + s eps`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional

from dmd.datasets.registry import to_images
from dmd.diffusion.rng import Stream, batch_order, sample_noise
from dmd.models.codec import LatentCodec, latent_shape, padding
from dmd.params.codec import Codec, CodecTraining
from dmd.teacher.steps import share_of_batch, train_steps
from dmd.training.accelerator import build_accelerator
from dmd.training.checkpoint import TrainingState
from dmd.training.learner import Learner
from dmd.training.prefetch import ReadAhead
from dmd.types import Images, Latents, Pixels

ENCODED = 250_000
"""So many pixels are encoded at once: what a pass keeps grows with them."""

LEAST_DEVIATION = 1e-3
"""Of latents that a scale can mend; `dmd.models.codec_configs` has the same bounds."""


def build_autoencoder(settings: Codec, channels: int) -> AutoencoderKL:
    """A fresh autoencoder of images with so many channels; its scale is one until it is measured."""
    levels = len(settings.block_out_channels)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        **settings.model_dump(exclude={"training"}),
        scaling_factor=1.0,
    )


class Reconstruction(nn.Module):
    """The two terms of the loss, as one call that processes share."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        """Wrap an autoencoder."""
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, x: Images, eps: Latents) -> tuple[Tensor, Tensor]:
        """The squared error of the images, and the divergence of the latents: means over batch and elements."""
        posterior = self.autoencoder.encode(x).latent_dist
        decoded = self.autoencoder.decode(posterior.mean + posterior.std * eps).sample
        divergence = (posterior.mean.square() + posterior.var - 1 - posterior.logvar) / 2
        return (decoded.float() - x).square().mean(), divergence.float().mean()


class AutoencoderTrainer:
    """Trains an autoencoder on images; resumable, and the same whatever the number of processes."""

    def __init__(
        self,
        autoencoder: AutoencoderKL,
        pixels: Pixels,
        settings: CodecTraining,
        multiple: int,
        mixed_precision: str | None,
        seed: int,
    ) -> None:
        """Take the images of one split; sides of the latents are a multiple of `multiple`.

        Raises:
            ValueError: the batch size does not fit the processes, or the launcher is at another precision.
        """
        self.accelerator = build_accelerator(mixed_precision, "teacher.training.mixed_precision")
        self._share = share_of_batch(settings.batch_size, self.accelerator, "teacher.codec.training")
        self.autoencoder, self.pixels, self.settings, self.seed = autoencoder, pixels, settings, seed
        self._shape, self._multiple = pixels.shape[1:], multiple
        self.learner = Learner(
            self.accelerator,
            Reconstruction(autoencoder).train(),
            settings.learning_rate,
            (0.9, 0.999),
            0.0,
            settings.max_grad_norm,
        ).schedule("cosine", settings.warmup_steps, settings.steps)
        self._ahead = ReadAhead(self._batch, self.accelerator.device)
        self.average = EMAModel(autoencoder.parameters(), decay=settings.ema_decay, foreach=True)
        self.state = TrainingState(
            {"autoencoder": autoencoder},
            {"optimizer": self.learner.optimizer},
            {"lr_scheduler": self.learner.lr_scheduler},
            {"autoencoder": self.average},
        )

    def run(self, work: Path) -> list[float]:
        """Train to the last step from the newest checkpoint in `work`; returns the loss of every step.

        The autoencoder then holds the averaged weights.

        Raises:
            FloatingPointError: a loss or gradient norm is not finite; names the first such step.
        """
        steps, every = self.settings.steps, self.settings.checkpoint_steps
        losses = train_steps(self.update, self.learner, self.state, work, steps, every, "autoencoder")
        self.average.copy_to(self.autoencoder.parameters())
        return losses

    def update(self, step: int) -> Tensor:
        """One optimiser update on batch `step`; returns this process's loss."""
        batch = self._ahead(step)
        error, divergence = self.learner.module(batch["x"], batch["eps"])
        loss = error + self.settings.kl_weight * divergence
        self.learner.descend(loss, step, {"loss": loss})
        self.average.step(self.autoencoder.parameters())
        return loss.detach()

    @torch.no_grad()
    def encode(self) -> Latents:
        """Latents of all images, on the CPU, and the scale that gives them unit variance into the config.

        `scaling_factor = 1 / std`, over all elements (Rombach et al. 2022, appendix G).

        Raises:
            ValueError: all latents are nearly the same.
        """
        device = self.accelerator.device
        codec = LatentCodec(self.autoencoder, self._shape, self._multiple)
        parts = self.pixels.split(max(1, ENCODED // self.pixels[0, 0].numel()))
        latents = torch.cat([codec.encode(to_images(part).to(device)).cpu() for part in parts]) / codec.scale
        deviation = latents.double().std(correction=0).item()
        if not LEAST_DEVIATION < deviation < 1 / LEAST_DEVIATION:
            raise ValueError(
                f"teacher.codec.training: the latents of the images deviate by {deviation:.3g}, and no scale mends "
                "that; lower kl_weight or learning_rate, or train for more steps"
            )
        self.autoencoder.register_to_config(scaling_factor=1 / deviation)
        return latents * (1 / deviation)

    def _batch(self, step: int) -> Mapping[str, Tensor]:
        """This process's part of batch `step`, on the host: padded images and the posterior's noise."""
        size = self._share
        first = step * self.settings.batch_size + self.accelerator.process_index * size
        rows = batch_order(self.seed, first, size, len(self.pixels), Stream.CODEC_ORDER)
        shape = latent_shape(self.autoencoder.config, self._shape, self._multiple)
        sides = padding(self.autoencoder.config, self._shape, self._multiple)
        return {
            "x": functional.pad(to_images(self.pixels[rows]), sides, mode="replicate"),
            "eps": sample_noise(self.seed, range(first, first + size), shape, Stream.CODEC_NOISE),
        }
