"""A diffusers pipeline that draws in one network call, or in a few.

This file travels with the weights and needs diffusers alone.
"""

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, ModelMixin
from diffusers.utils.torch_utils import randn_tensor


class OneStepPipeline(DiffusionPipeline):
    """`x0 = x0_prediction(unet(z, t*, label))`, z ~ N(0, I).

    The scheduler's table of betas ends at t*: its one trailing step calls the network there and goes all the way to x0.
    At each of `later_timesteps`, if there are any, x0 is noised afresh and the network called again.
    """

    model_cpu_offload_seq = "unet"

    def __init__(
        self,
        unet: ModelMixin,
        scheduler: DDIMScheduler,
        num_classes: int | None = None,
        later_timesteps: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(num_classes=num_classes, later_timesteps=later_timesteps)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | Sequence[int] | torch.Tensor | None = None,
        batch_size: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Draw images.

        Args:
            class_labels: a class for all images, or one for each; without any, the classes in turn.
            batch_size: number of images; not needed where `class_labels` or `latents` tell it (else 1).
            generator: source of the noise, for repeatable images.
            latents: the noise z itself, [B, C, H, W], in place of `generator`.
            output_type: `pil`, `np` ([B, H, W, C] in [0, 1]) or `pt` ([B, C, H, W] in [0, 1]).
            return_dict: give an `ImagePipelineOutput`, else a tuple with the images.

        Raises:
            ValueError: an argument is of another kind or out of its range, or the numbers of images disagree.
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"output_type {output_type!r} is unknown; take pil, np or pt")
        given = self._given(class_labels)
        count = self._count(given, batch_size, latents)
        labels = self._labels(given, count)
        z = self._noise(latents, count, generator)

        self.scheduler.set_timesteps(1)
        images = self._x0(z, self.scheduler.timesteps[0], labels)
        for timestep in self.config.later_timesteps or ():
            t = torch.tensor(timestep)
            eps = randn_tensor(z.shape, generator=generator, device=z.device, dtype=z.dtype)
            images = self._x0(self.scheduler.add_noise(images, eps, t.expand(count)), t, labels)

        self.maybe_free_model_hooks()
        images = self._as_pictures(images, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _x0(self, x_t: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The clean images that the network sees in noisy ones."""
        output = self.unet(x_t, t, class_labels=labels).sample
        return self.scheduler.step(output, t, x_t).pred_original_sample

    def _as_pictures(self, images: torch.Tensor, output_type: str) -> Any:
        """From [-1, 1] to [0, 1]: a tensor (`pt`), an array [B, H, W, C] (`np`) or a list of pictures (`pil`)."""
        images = (images / 2 + 0.5).clamp(0, 1)
        if output_type == "pt":
            return images
        pixels = images.cpu().float().permute(0, 2, 3, 1).numpy()
        return self.numpy_to_pil(pixels) if output_type == "pil" else pixels

    def _given(self, class_labels: int | Sequence[int] | torch.Tensor | None) -> torch.Tensor | None:
        """The labels as a tensor, of one or of [B]; None where there are none."""
        if class_labels is None:
            return None
        num_classes = self.config.num_classes
        if num_classes is None:
            raise ValueError("this model has no classes; leave class_labels away")
        said = reprlib.repr(class_labels)
        rule = f"class_labels {said}: a class, or a list of one for each image; 0 … {num_classes - 1}"
        try:
            labels = torch.as_tensor(class_labels).cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(rule) from error
        whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if labels.ndim > 1 or not whole or bool(((labels < 0) | (labels >= num_classes)).any()):
            raise ValueError(rule)
        return labels.long()

    @staticmethod
    def _count(labels: torch.Tensor | None, batch_size: int | None, latents: torch.Tensor | None) -> int:
        """The number of images that all arguments agree on; a single label fits any."""
        try:
            wanted = None if batch_size is None else operator.index(batch_size)
        except TypeError as error:
            raise ValueError(f"batch_size {batch_size!r} is no whole number") from error
        if latents is not None and not (isinstance(latents, torch.Tensor) and latents.ndim == 4):
            raise ValueError("latents are no tensor [B, C, H, W]")
        told = {
            "batch_size": wanted,
            "class_labels": None if labels is None or labels.ndim == 0 else len(labels),
            "latents": None if latents is None else len(latents),
        }
        numbers = {name: number for name, number in told.items() if number is not None}
        if len(set(numbers.values())) > 1:
            raise ValueError(f"the numbers of images disagree: {numbers}; give one, or the same")
        count = next(iter(numbers.values()), 1)
        if count < 1:
            raise ValueError(f"{next(iter(numbers))} {count}: there must be an image to draw, one at least")
        return count

    def _labels(self, given: torch.Tensor | None, count: int) -> torch.Tensor | None:
        """Labels [B] on the device; None for a network without classes."""
        num_classes = self.config.num_classes
        if num_classes is None:
            return None
        labels = torch.arange(count) % num_classes if given is None else given
        return labels.expand(count).to(self._execution_device)

    @staticmethod
    def _check_generator(generator: torch.Generator | list[torch.Generator] | None, count: int) -> None:
        """Refuse generators that are none, or neither one nor one for each image."""
        each: Sequence[torch.Generator | None] = generator if isinstance(generator, list) else [generator]
        if generator is not None and not all(isinstance(one, torch.Generator) for one in each):
            raise ValueError(f"generator {generator!r} is no torch.Generator, nor a list of them")
        if isinstance(generator, list) and len(each) not in (1, count):
            raise ValueError(f"there are {len(each)} generators for {count} images; give one, or one for each")

    def _noise(
        self, latents: torch.Tensor | None, count: int, generator: torch.Generator | list[torch.Generator] | None
    ) -> torch.Tensor:
        """Noise [B, C, H, W] on the device, in the network's precision."""
        self._check_generator(generator, count)
        size = self.unet.config.sample_size
        shape = (count, self.unet.config.in_channels, *((size, size) if isinstance(size, int) else size))
        if latents is None:
            return randn_tensor(shape, generator=generator, device=self._execution_device, dtype=self.unet.dtype)
        if latents.shape != shape:
            raise ValueError(f"latents have the shape {tuple(latents.shape)}, the network takes {shape}")
        return latents.to(self._execution_device, self.unet.dtype)
