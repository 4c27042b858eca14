"""What an iteration is fed: noises, labels, timesteps, pairs, real images: functions of the seed and a number."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.datasets.registry import to_images
from dmd.diffusion.rng import Stream, batch_order, sample_integers, sample_noise
from dmd.diffusion.schedule import NoiseSchedule
from dmd.params.distill import Distill
from dmd.types import Images, Labels, Pixels

Batch = Mapping[str, Tensor]
"""Tensors by name, one row a sample."""


class RealImages(NamedTuple):
    """The images that a discriminator takes for real."""

    pixels: Pixels
    labels: Labels | None


class Batches:
    """The batches of one process, on the host.

    Updates of fake score and discriminator are numbered through: the warm-up's first, then those of each iteration.
    """

    def __init__(
        self,
        settings: Distill,
        schedule: NoiseSchedule,
        image_shape: Sequence[int],
        num_classes: int | None,
        seed: int,
        pairs: PairStore | None = None,
        real: RealImages | None = None,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        """Of process `process` of `num_processes`, each of which takes its part of every batch.

        Args:
            settings: sizes and ranges.
            schedule: turns ranges of noise into timesteps.
            image_shape: channels, height, width.
            num_classes: None for no labels.
            seed: of all that is drawn.
            pairs: of the regression; none where there is none.
            real: of the discriminator; none where there is none.
            process: this process's number.
            num_processes: how many share a batch.

        Raises:
            ValueError: a batch size is not a multiple of the processes, or a range of noise holds no timestep.
        """
        for name in ("batch_size", "pairs_batch_size"):
            size = getattr(settings, name)
            if size % num_processes:
                raise ValueError(f"distill.{name} {size} is not a multiple of {num_processes} processes")
        self.settings, self.image_shape, self.num_classes, self.seed = settings, tuple(image_shape), num_classes, seed
        self.pairs, self.real, self.process, self.num_processes = pairs, real, process, num_processes
        every = range(schedule.num_timesteps)
        self.matching_times = _times(schedule, settings.matching.noise, "distill.matching.noise")
        fake = settings.fake_noise
        self.fake_times = every if fake is None else _times(schedule, fake, "distill.fake_noise")

    def number(self, step: int) -> int:
        """The number of iteration `step`'s first update of the fake score, whose noises are the generator's own."""
        return self.settings.fake_warmup_updates + step * self.settings.num_fake_updates

    def generator_step(self, number: int) -> int:
        """Which of its steps the generator takes with a gradient at update `number`, from 0: any, or the last."""
        steps = len(self.settings.generator_timesteps)
        if steps == 1 or self.settings.matched_steps == "last":
            return steps - 1
        return int(sample_integers(self.seed, [number], 0, steps, Stream.GENERATOR_STEP)[0])

    def draw(self, step: int) -> dict[str, Tensor]:
        """This process's part of iteration `step`: fresh noises with labels, timesteps and noise, and pairs."""
        settings, number = self.settings, self.number(step)
        indices = self._indices(step, settings.batch_size)
        times = self.matching_times
        batch = {
            **self._noises(number),
            **self._labels(number),
            "t": sample_integers(self.seed, indices, times.start, times.stop, Stream.MATCHING_TIME),
            "eps": sample_noise(self.seed, indices, self.image_shape, Stream.MATCHING_NOISE),
        }
        if self.pairs is None:
            return batch
        ref = self._indices(step, settings.pairs_batch_size)
        pairs = self.pairs.read(batch_order(self.seed, ref.start, len(ref), len(self.pairs)))
        return batch | {"z_ref": pairs["z"], "x_ref": pairs["x0"], "labels_ref": pairs["label"]}

    def draw_fake(self, number: int) -> dict[str, Tensor]:
        """This process's part of update `number` of the critics: labels, timesteps, noise, real images.

        All but the first update of an iteration, which is on the generator's images, also have noises to draw from.
        """
        indices, times = self._indices(number, self.settings.batch_size), self.fake_times
        after = number - self.settings.fake_warmup_updates
        fresh = {} if after >= 0 and after % self.settings.num_fake_updates == 0 else self._noises(number)
        return {
            **fresh,
            **self._labels(number),
            "t": sample_integers(self.seed, indices, times.start, times.stop, Stream.FAKE_TIME),
            "eps": sample_noise(self.seed, indices, self.image_shape, Stream.FAKE_NOISE),
            **self._real(number),
        }

    def _real(self, number: int) -> dict[str, Tensor]:
        """Real images `x_real` of update `number` with their `labels_real`, and timesteps and noise to tell them by."""
        if self.real is None:
            return {}
        indices = self._indices(number, self.settings.batch_size)
        pixels, labels = self.real
        rows = batch_order(self.seed, indices.start, len(indices), len(pixels), Stream.REAL_ORDER)
        times = self.matching_times
        drawn = {
            "x_real": to_images(pixels[rows]),
            "eps_real": sample_noise(self.seed, indices, self.image_shape, Stream.REAL_NOISE),
            "t_real": sample_integers(self.seed, indices, times.start, times.stop, Stream.REAL_TIME),
        }
        return drawn if labels is None or self.num_classes is None else drawn | {"labels_real": labels[rows]}

    def _noises(self, number: int) -> dict[str, Tensor]:
        """Noises `z` ~ N(0, I) of update `number`, and `eps_rollout` [B, K - 1, …] for a generator of K steps."""
        indices = self._indices(number, self.settings.batch_size)
        drawn = {"z": sample_noise(self.seed, indices, self.image_shape, Stream.GENERATOR)}
        steps = len(self.settings.generator_timesteps)
        if steps == 1:
            return drawn
        shape = (steps - 1, *self.image_shape)
        return drawn | {"eps_rollout": sample_noise(self.seed, indices, shape, Stream.ROLLOUT_NOISE)}

    def _labels(self, number: int) -> dict[str, Tensor]:
        """Uniform `labels` of update `number`; none for a model without classes."""
        if self.num_classes is None:
            return {}
        indices = self._indices(number, self.settings.batch_size)
        return {"labels": sample_integers(self.seed, indices, 0, self.num_classes, Stream.LABELS)}

    def _indices(self, number: int, size: int) -> range:
        """This process's indices in global batch `number` of `size` samples."""
        part = size // self.num_processes
        first = number * size + self.process * part
        return range(first, first + part)


def _times(schedule: NoiseSchedule, noise: tuple[float, float], key: str) -> range:
    try:
        return schedule.timesteps_between(*noise)
    except ValueError as error:
        raise ValueError(f"{key} {list(noise)}: {error}") from error


def spread_times(times: range, count: int) -> Labels:
    """`count` timesteps evenly over a range: the middles of as many equal parts."""
    parts = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (times.start + parts * len(times)).long()


def cut(batch: Batch, count: int) -> list[Batch]:
    """A batch in `count` parts: fresh noises and pairs alike are spread over all of them."""
    split = {name: tensor.tensor_split(count) for name, tensor in batch.items()}
    return [{name: parts[i] for name, parts in split.items()} for i in range(count)]


def rollout_noise(batch: Batch) -> Sequence[Images]:
    """The noise of each step but the first, [B, C, H, W]."""
    return batch["eps_rollout"].unbind(1) if "eps_rollout" in batch else ()
