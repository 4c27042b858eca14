"""What `dmd draw` draws from: a generator, a teacher or a pipeline of many steps, loaded from wherever it lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from dmd.commands.arguments import require
from dmd.commands.device import find_device
from dmd.diffusion.calls import class_embeds
from dmd.diffusion.generator import Generator
from dmd.diffusion.prompts import Prompts
from dmd.diffusion.sampler import count_nfe
from dmd.evaluate.models import many_step_model
from dmd.models.backbones import load_backbone
from dmd.models.codec import build_codec, halvings, load_autoencoder
from dmd.models.compatibility import training_schedule, without_own_betas
from dmd.models.edm_pipeline import is_one_step
from dmd.models.karras import is_karras
from dmd.models.latent_pipelines import find_parts, refuse_latents
from dmd.models.pipeline import load_generator
from dmd.models.teacher import Teacher
from dmd.models.text import encode, load_text
from dmd.params.config import load_config
from dmd.params.sampling import Sampling
from dmd.runtime.handed import read_json
from dmd.runtime.places import Places
from dmd.teacher.scheduler import canonical_scheduler, scheduler_config
from dmd.types import Model

DEFAULTS = {"solver": "unipc", "num_steps": 20, "timestep_spacing": "trailing", "batch_size": 1}
"""How a teacher draws that no params speak of."""


class Wishes(NamedTuple):
    """What was asked for on the command line; None leaves it to the params or to `DEFAULTS`."""

    teacher: bool = False
    solver: str | None = None
    steps: int | None = None
    guidance: float | None = None
    prompts: tuple[str, ...] = ()

    @property
    def of_a_teacher(self) -> bool:
        """Whether any of it is for a model of many steps alone."""
        return (self.solver, self.steps, self.guidance) != (None, None, None)


@dataclass(frozen=True)
class Source:
    """A model that draws, and what it must be given."""

    title: str
    model: Model
    image_shape: tuple[int, ...]
    num_classes: int | None
    calls: int
    """Network calls an image."""
    seed: int = 0
    labelled: str = "class"
    """What a label is: a class, or a prompt."""

    def choose(self, classes: Sequence[int] | None) -> list[int] | None:
        """The classes that are drawn in turn: all, or those asked for; none of an unconditional model.

        Raises:
            ValueError: one is asked for that the model has not; names it and what there is.
        """
        if self.num_classes is None:
            if classes is not None:
                raise ValueError(f"{self.title} has no classes; leave --labels away")
            return None
        wrong = [label for label in classes or () if not 0 <= label < self.num_classes]
        if wrong:
            raise ValueError(f"--labels {wrong[0]}: {self.title} has the classes 0 … {self.num_classes - 1}")
        return list(range(self.num_classes) if classes is None else classes)


def load_source(path: Path, wishes: Wishes) -> Source:
    """The model of a folder, or of the system of a params file.

    Raises:
        ValueError: there is none, it has parts that cannot be drawn from here, or does not what was wished for.
    """
    if path.is_file():
        return _of_params(path, wishes)
    if wishes.teacher:
        raise ValueError(f"--teacher belongs to a params file, which {path} is not; name the teacher's folder itself")
    index = path / "model_index.json"
    if index.is_file() and find_parts(path).text:
        return _one_step(path, wishes)
    _check_parts(index)
    if (path / "codec").is_dir():
        raise ValueError(f"{path}: a teacher of latents, which cannot be drawn from here")
    parts = (path / "unet", path / "scheduler") if (path / "unet").is_dir() else (path, path)
    if not (parts[0] / "config.json").is_file() or not (parts[1] / "scheduler_config.json").is_file():
        raise ValueError(
            f"{path}: neither a params file nor a folder with the config.json of a network and a scheduler"
        )
    scheduler = read_json(parts[1] / "scheduler_config.json")
    if (scheduler.get("trained_betas") or is_one_step(scheduler)) and parts[0] != path:
        return _one_step(path, wishes)  # a generator's betas are a table of its own, which ends at t*
    network = read_json(parts[0] / "config.json")
    described = canonical_scheduler(training_schedule(without_own_betas(network, scheduler)))
    backbone = load_backbone(parts[0])
    settings = DEFAULTS | ({"solver": "heun"} if is_karras(described) else {})
    return _many_steps(str(path), Teacher(backbone, scheduler_config(backbone, described)), wishes, settings)


def _of_params(path: Path, wishes: Wishes) -> Source:
    config = load_config(path)
    places, dataset = Places(config.system), config.dataset
    known = dataset.image_shape, dataset.num_classes, config.seed
    if not wishes.teacher:
        return _one_step(require(places.generator, "distill"), wishes, *known)
    if wishes.guidance is None:
        wishes = wishes._replace(guidance=config.guidance_scale)
    teacher, settings = (
        Teacher.load(require(places.teacher, "teacher")),
        config.evaluate.model_dump(include=set(DEFAULTS)),
    )
    return _many_steps(str(places.teacher), teacher, wishes, settings, *known)


def _check_parts(index: Path) -> None:
    """Refuse a pipeline whose unet does not draw pixels by itself; what its index leaves out, or sets, is no part."""
    values = read_json(index) if index.is_file() else {}
    named = {key: value[0] for key, value in values.items() if isinstance(value, list) and value and key[0] != "_"}
    others = sorted({key for key, library in named.items() if isinstance(library, str)} - {"unet", "scheduler"})
    if others:
        raise ValueError(f"{index}: has {', '.join(others)} besides a unet and a scheduler; only models of pixels draw")


def _one_step(
    folder: Path,
    wishes: Wishes,
    image_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> Source:
    """A generator; diffusers' stock pipelines do not say its classes, and of their network a null class counts too."""
    if wishes.of_a_teacher:
        raise ValueError(
            f"{folder}: a generator has its own steps and no guidance; leave --solver, --steps and --guidance away, or "
            "name a teacher"
        )
    if find_parts(folder).text:
        return _told(folder, wishes.prompts, image_shape, seed)
    _refuse_prompts(str(folder), wishes)
    refuse_latents(folder)
    generator: Generator = load_generator(folder).to(find_device())
    backbone: Any = generator.denoiser.backbone
    if num_classes is None:
        num_classes = read_json(folder / "model_index.json").get("num_classes", backbone.config.num_class_embeds)
    return Source(str(folder), generator, image_shape or _shape(backbone.config), num_classes, generator.nfe, seed)


def _told(folder: Path, texts: tuple[str, ...], image_shape: tuple[int, ...] | None, seed: int) -> Source:
    """A generator of text, whose labels are `texts` in their order."""
    if not texts:
        raise ValueError(f"{folder} is told prompts; give --prompt 'a cat', once for each")
    if not read_json(folder / "scheduler" / "scheduler_config.json").get("trained_betas"):
        raise ValueError(f"{folder}: a text-to-image pipeline of many steps, which diffusers draws; name a generator")
    told, device = encode(load_text(folder), texts), find_device()
    generator = load_generator(folder, Prompts(told, None, told[:0])).to(device)
    autoencoder, backbone = load_autoencoder(folder / "vae"), cast("Any", generator.denoiser.backbone)
    if image_shape is None:
        scale = halvings(autoencoder.config)
        image_shape = (autoencoder.config.in_channels, *(side * scale for side in _shape(backbone.config)[1:]))
    codec = build_codec(autoencoder, image_shape, backbone.config).to(device)
    drawn = codec.decoding(generator), tuple(codec.latent_shape)
    return Source(str(folder), *drawn, len(texts), generator.nfe, seed, "prompt")


def _refuse_prompts(title: str, wishes: Wishes) -> None:
    if wishes.prompts:
        raise ValueError(f"{title} is told no prompts; leave --prompt away")


def _many_steps(
    title: str,
    teacher: Teacher,
    wishes: Wishes,
    settings: dict[str, Any],
    image_shape: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    seed: int = 0,
) -> Source:
    if teacher.autoencoder is not None:
        raise ValueError(f"{title}: its network makes latents; of such, only generators of text can be drawn from here")
    _refuse_prompts(title, wishes)
    config, scale = teacher.backbone.config, 1.0 if wishes.guidance is None else wishes.guidance
    embeddings = class_embeds(config)
    if num_classes is None and embeddings is not None:
        num_classes = embeddings if scale == 1.0 else embeddings - 1
    asked = {"solver": wishes.solver, "num_steps": wishes.steps}
    sampling = _sampling(settings | {name: value for name, value in asked.items() if value is not None})
    sampling.check_timesteps(teacher.scheduler_config["num_train_timesteps"], "draw")
    model = many_step_model(teacher, sampling, scale, num_classes, find_device())
    calls = count_nfe(sampling.solver, sampling.num_steps)
    return Source(title, model, image_shape or _shape(config), num_classes, calls, seed)


def _sampling(values: dict[str, Any]) -> Sampling:
    try:
        return Sampling.model_validate(values)
    except ValidationError as error:
        told = (f"{'.'.join(map(str, item['loc']))} {item['msg']}".strip() for item in error.errors())
        raise ValueError(f"--solver {values['solver']} --steps {values['num_steps']}: {'; '.join(told)}") from error


def _shape(config: Any) -> tuple[int, int, int]:
    """Channels, height and width of what a network takes."""
    size = config.sample_size
    if size is None:
        raise ValueError("the network's config.json has no sample_size; write the images' height there")
    height, width = (size, size) if isinstance(size, int) else size
    return config.in_channels, height, width
