"""What an iteration is fed: noises, labels, timesteps and pairs, all functions of the seed and the update's number."""

from collections.abc import Mapping

from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.rng import Stream, batch_order, sample_integers, sample_noise
from dmd.params.distill import Distill

Batch = Mapping[str, Tensor]
"""Tensors by name, one row a sample."""


class Batches:
    """The batches of one process, on the host."""

    def __init__(
        self,
        pairs: PairStore,
        settings: Distill,
        *,
        num_timesteps: int,
        num_classes: int | None,
        seed: int,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        """Of process `process` of `num_processes`, each of which takes its part of every batch.

        Raises:
            ValueError: a batch size is not a multiple of the processes.
        """
        for name in ("batch_size", "pairs_batch_size"):
            size = getattr(settings, name)
            if size % num_processes:
                raise ValueError(f"distill.{name} {size} is not a multiple of {num_processes} processes")
        self.pairs, self.settings, self.seed = pairs, settings, seed
        self.num_timesteps, self.num_classes = num_timesteps, num_classes
        self.process, self.num_processes = process, num_processes

    def draw(self, step: int) -> dict[str, Tensor]:
        """This process's part of iteration `step`: fresh noises with labels, timesteps and noise, and pairs."""
        settings, total = self.settings, self.num_timesteps
        indices = self._indices(step, settings.batch_size)
        number = step * settings.num_fake_updates
        ref = self._indices(step, settings.pairs_batch_size)
        pairs = self.pairs.read(batch_order(self.seed, ref.start, len(ref), len(self.pairs)))
        low, high = round(settings.min_timestep * total), round(settings.max_timestep * total)
        return {
            "z": self._draw_noises(number),
            **self._draw_labels(number),
            "t": sample_integers(self.seed, indices, low, min(high + 1, total), Stream.MATCHING_TIME),
            "eps": sample_noise(self.seed, indices, self.pairs.image_shape, Stream.MATCHING_NOISE),
            "z_ref": pairs["z"],
            "x_ref": pairs["x0"],
            "labels_ref": pairs["label"],
        }

    def draw_fake(self, number: int) -> dict[str, Tensor]:
        """This process's part of update `number` of the fake score: labels, timesteps and noise.

        All but the first update of an iteration, which is on the generator's images, also have noises to draw from.
        """
        indices = self._indices(number, self.settings.batch_size)
        fresh = {"z": self._draw_noises(number)} if number % self.settings.num_fake_updates else {}
        return {
            **fresh,
            **self._draw_labels(number),
            "t": sample_integers(self.seed, indices, 0, self.num_timesteps, Stream.FAKE_TIME),
            "eps": sample_noise(self.seed, indices, self.pairs.image_shape, Stream.FAKE_NOISE),
        }

    def _draw_noises(self, number: int) -> Tensor:
        """Noises `z` ~ N(0, I) of update `number` of the fake score."""
        indices = self._indices(number, self.settings.batch_size)
        return sample_noise(self.seed, indices, self.pairs.image_shape, Stream.GENERATOR)

    def _draw_labels(self, number: int) -> dict[str, Tensor]:
        """Uniform `labels` of update `number` of the fake score; none for a model without classes."""
        if self.num_classes is None:
            return {}
        indices = self._indices(number, self.settings.batch_size)
        return {"labels": sample_integers(self.seed, indices, 0, self.num_classes, Stream.LABELS)}

    def _indices(self, number: int, size: int) -> range:
        """This process's indices in global batch `number` of `size` samples."""
        part = size // self.num_processes
        first = number * size + self.process * part
        return range(first, first + part)
