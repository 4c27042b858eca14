"""Noise-image pairs in memory: drawn from a teacher here, or brought."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from accelerate.utils import tqdm
from torch import Tensor, nn

from dmd.datasets.labels import stored_labels
from dmd.datasets.pairs import PairStore
from dmd.diffusion.guidance import with_guidance
from dmd.library.teacher import OwnTeacher
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.params.sampling import Sampling
from dmd.types import Images, Labels


class Pairs(NamedTuple):
    """Noises z ~ N(0, I) and the images that a deterministic solver makes of them with the teacher."""

    z: Images
    """[N, C, H, W]."""
    x0: Images
    """The same, in [-1, 1] or nearly."""
    labels: Labels | None = None
    """[N]; None without classes."""
    guidance_scale: float = 1.0
    """That they were drawn with."""


def draw_pairs(
    teacher: OwnTeacher,
    count: int,
    *,
    guidance_scale: float = 1.0,
    solver: str = "unipc",
    num_steps: int = 20,
    seed: int = 0,
    batch_size: int = 128,
) -> Pairs:
    """Solve the teacher's probability-flow ODE from `count` noises, on the device of its weights.

    Args:
        teacher: the model.
        count: pairs; classes come in turn.
        guidance_scale: of classifier-free guidance, `x0_uncond + s (x0_cond - x0_uncond)`; 1.0 is none.
        solver: `ddim`, `euler`, `heun`, `dpmsolver++`, `dpmsolver++3m` or `unipc`.
        num_steps: of the solver.
        seed: pair i is a function of it, of i and of the teacher.
        batch_size: images a network call.

    Raises:
        ValueError: the solver is not deterministic, its steps do not fit the schedule, guidance has no null class, or
            `count` or `batch_size` is below 1.
    """
    for name, value in {"count": count, "batch_size": batch_size}.items():
        if value < 1:
            raise ValueError(f"draw_pairs: {name} {value} is below 1")
    recipe = _recipe(teacher, guidance_scale, solver, num_steps, seed)
    denoiser = with_guidance(teacher.denoiser, guidance_scale, teacher.num_classes)
    starts = tqdm(range(0, count, batch_size), "pairs", unit="batch")
    with _evaluating(denoiser):
        parts = [make_pairs(denoiser, recipe, range(start, min(start + batch_size, count))) for start in starts]
    z, x0, label = (torch.cat([part[name] for part in parts]) for name in ("z", "x0", "label"))
    return Pairs(z, x0, None if teacher.num_classes is None else label, guidance_scale)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module has its own mode again."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _recipe(teacher: OwnTeacher, guidance_scale: float, solver: str, num_steps: int, seed: int) -> PairRecipe:
    values = {"solver": solver, "num_steps": num_steps, "timestep_spacing": "trailing", "batch_size": 1}
    settings = Sampling.model_validate(values)
    settings.check_timesteps(teacher.schedule.num_timesteps, "draw_pairs")
    return PairRecipe(
        seed,
        teacher.image_shape,
        teacher.num_classes,
        guidance_scale,
        teacher.scheduler_config,
        settings.solver,
        settings.num_steps,
        settings.timestep_spacing,
    )


class MemoryStore(PairStore):
    """Pairs in memory, read as those of a folder are."""

    def __init__(self, pairs: Pairs, image_shape: tuple[int, int, int], num_classes: int | None) -> None:
        """Hold the pairs against the teacher's images and classes.

        Raises:
            ValueError: shapes, labels or values do not fit; names what.
        """
        expected = (len(pairs.z), *image_shape)
        for name, images in (("z", pairs.z), ("x0", pairs.x0)):
            if tuple(images.shape) != expected or not len(images):
                raise ValueError(f"pairs.{name} has the shape {tuple(images.shape)}, not {expected} with N above 0")
            if not images.isfinite().all():
                raise ValueError(f"pairs.{name} has values that are not finite")
        check_labels("pairs.labels", pairs.labels, len(pairs.z), num_classes)
        self._tensors = {
            "z": pairs.z.float().cpu(),
            "x0": pairs.x0.float().cpu(),
            "label": stored_labels(None if pairs.labels is None else pairs.labels.long().cpu(), len(pairs.z)),
            "index": torch.arange(len(pairs.z)),
        }

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return tuple(self._tensors["z"].shape[1:])

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._tensors["index"])

    def read(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """The pairs of these rows, in this order: `z`, `x0`, `label`, `index`."""
        places = torch.as_tensor(rows, dtype=torch.int64)
        return {name: tensor[places] for name, tensor in self._tensors.items()}


def check_labels(name: str, labels: Labels | None, count: int, num_classes: int | None) -> None:
    """Hold labels against the classes.

    Raises:
        ValueError: they are there without classes or missing with them, too many, too few, or out of range.
    """
    if (labels is None) != (num_classes is None):
        raise ValueError(f"{name}: the teacher's num_classes is {num_classes}; give labels where it has classes alone")
    if labels is None or num_classes is None:
        return
    whole = labels.ndim == 1 and not labels.is_floating_point()
    if not whole or len(labels) != count or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(f"{name}: {count} whole numbers of 0 … {num_classes - 1} are needed, one for each image")
