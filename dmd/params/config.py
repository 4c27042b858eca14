"""The typed, frozen view of a whole `params.yaml`.

Nothing outside `stages` and `tools` reads a `Config`; the core takes plain arguments, or one section of `dmd.params`.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from dmd.params.backbone import Backbone
from dmd.params.dataset import Dataset
from dmd.params.dialect import read_yaml
from dmd.params.distill import Distill
from dmd.params.fetch import MIRRORS, Fetch
from dmd.params.sampling import ANY_SCHEDULE, Evaluate, Pairs
from dmd.params.section import Section
from dmd.params.teacher import MADE_HERE, SCHEDULE_TAGS, Teacher


class ConfigError(ValueError):
    """A parameter is missing, unknown, out of bounds or at odds with another; the message says which and the cure."""


class Config(Section):
    """All of `params.yaml`."""

    system: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Name of the system: its folder in data/, models/ and metrics/."""
    root: str
    """The repository's root, from the folder of the params file; DVC reads it."""
    file: str
    """The params file, from the root; DVC reads it."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)]
    """Seed of every random number; with a sample's index it gives the sample's noise."""
    alpha: Annotated[float, Field(ge=0)]
    """Weight of the regression loss."""
    guidance_scale: Annotated[float, Field(ge=0)]
    """Classifier-free guidance of the pairs and of the real score; 1.0 = off."""
    dataset: Dataset
    fetch: Fetch
    teacher: Teacher
    pairs: Pairs
    distill: Distill
    evaluate: Evaluate

    @model_validator(mode="after")
    def _schedule_agrees(self) -> "Config":
        if self.teacher.schedule is not None:  # else `fetch` and `teacher` compare with the checkpoint's
            self.check_schedule(self.teacher.schedule.model_dump())
        return self

    @property
    def asked_of_the_network(self) -> dict[str, Any]:
        """What the params ask of the teacher's network beside its shape, as `dmd.models.compatibility` takes it."""
        checkpointing = self.distill.gradient_checkpointing
        guidance_scale = next((scale for scale in self._guidance_scales.values() if scale != 1.0), 1.0)
        return {"guidance_scale": guidance_scale, "gradient_checkpointing": checkpointing}

    def check_schedule(self, schedule: Mapping[str, Any]) -> None:
        """Hold t* and the solvers against the values of a `teacher.schedule`.

        Raises:
            ValueError: t* lies outside, or a solver or its steps do not fit; names key, value and cure.
        """
        total = schedule["num_train_timesteps"]
        if self.distill.generator_timesteps[0] >= total:
            raise ValueError(
                f"distill.generator_timesteps {list(self.distill.generator_timesteps)} go outside the schedule: "
                f"0 … {total - 1} (teacher.schedule.num_train_timesteps - 1)"
            )
        self.pairs.check_timesteps(total, "pairs")
        self.evaluate.check_timesteps(total, "evaluate")
        if schedule["prediction_type"] == "edm":
            self._check_edm()

    def check_latents(self) -> None:
        """Hold the params against a teacher of latents.

        Raises:
            ValueError: there are several timesteps, or a discriminator; names key, value and cure.
        """
        times, kind = self.distill.generator_timesteps, self.distill.discriminator.kind
        if len(times) > 1:
            raise ValueError(
                f"distill.generator_timesteps {list(times)}: a generator of latents is saved as a pipeline of one "
                "step; give one timestep"
            )
        if kind is not None:
            raise ValueError(
                f"distill.discriminator.kind {kind} compares with images, and the teacher makes latents; set it to null"
            )

    def check_prompts(self, told: bool) -> None:
        """Hold `dataset.prompts` against a teacher that is told prompts, or is not.

        Raises:
            ValueError: one has what the other has not; names key, value and cure.
        """
        prompts = self.dataset.prompts
        if told and prompts is None:
            raise ValueError(
                "dataset.prompts is null, but the teacher draws by prompts; name a CSV with columns prompt and split"
            )
        if prompts is not None and not told:
            raise ValueError(f"dataset.prompts {prompts!r}: the teacher is told no prompts; set it to null")

    def _check_edm(self) -> None:
        for key, solver in (("pairs.solver", self.pairs.solver), ("evaluate.solver", self.evaluate.solver)):
            if solver not in ANY_SCHEDULE:
                raise ValueError(
                    f"{key} {solver} is for a schedule of betas, and the teacher's is EDM's; take "
                    f"{' or '.join(ANY_SCHEDULE)}"
                )
        if len(self.distill.generator_timesteps) > 1:
            raise ValueError(
                f"distill.generator_timesteps {list(self.distill.generator_timesteps)}: a generator with EDM's "
                "preconditioning is saved as a pipeline of one step; give one timestep"
            )

    @model_validator(mode="after")
    def _something_is_trained(self) -> "Config":
        discriminator = self.distill.discriminator
        heard = discriminator.kind is not None and discriminator.weight > 0
        if self.alpha == 0 and self.distill.matching.loss == "none" and not heard:
            raise ValueError(
                "alpha 0, distill.matching.loss none and no discriminator of a weight above 0 leave nothing to train; "
                "set one of them"
            )
        return self

    @model_validator(mode="after")
    def _latents_agree(self) -> "Config":
        if self.teacher.makes_latents:
            self.check_latents()
        return self

    def _check_backbone(self, backbone: Backbone) -> None:
        """Hold the images against the network; those of a codec are padded to what network and codec divide."""
        if not (self.teacher.makes_latents and backbone.kind == "unet2d"):
            backbone.check_images(self.dataset.image_shape, self.dataset.num_classes)
        elif self.dataset.num_classes is not None:
            raise ValueError(
                f"teacher.backbone.kind `unet2d` with teacher.codec: no stock pipeline draws dataset.num_classes "
                f"{self.dataset.num_classes} from latents by it; take dit, or set dataset.num_classes to null"
            )

    @property
    def _guidance_scales(self) -> dict[str, float]:
        """Of the pairs, and of the real score where it has its own."""
        own = self.distill.matching.guidance_scale
        pairs = {"guidance_scale": self.guidance_scale}
        return pairs if own is None else pairs | {"distill.matching.guidance_scale": own}

    @model_validator(mode="after")
    def _prompts_agree(self) -> "Config":
        if self.teacher.source in MADE_HERE:
            self.check_prompts(told=False)
        if self.distill.lora is not None and self.dataset.prompts is None:
            raise ValueError(
                f"distill.lora {self.distill.lora.model_dump()} adapts a teacher that is told prompts; set it to null"
            )
        if self.distill.lora is not None and find_spec("peft") is None:
            raise ValueError("distill.lora needs peft; install the extra `text` of this project, or set it to null")
        if self.evaluate.clip is not None and self.dataset.prompts is None:
            raise ValueError(f"evaluate.clip {self.evaluate.clip!r} compares images with prompts; set it to null")
        return self

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        labelled = self.dataset.num_classes is not None or self.dataset.prompts is not None
        if self.guidance_scale != 1.0 and not labelled:
            raise ValueError(f"guidance_scale {self.guidance_scale} needs labels: set dataset.num_classes, or 1.0")
        if self.distill.matching.guidance_scale not in (None, 1.0) and not labelled:
            raise ValueError(
                f"distill.matching.guidance_scale {self.distill.matching.guidance_scale} needs labels: set "
                "dataset.num_classes, or null"
            )
        training = self.teacher.training if self.teacher.source == "train" else None
        for key, scale in self._guidance_scales.items():
            if scale != 1.0 and training is not None and training.label_dropout == 0:
                raise ValueError(
                    f"{key} {scale} needs a teacher that knows the null class, but "
                    f"teacher.training.label_dropout is 0; set it above 0, or {key} to 1.0"
                )
        if self.teacher.backbone is not None:
            self._check_backbone(self.teacher.backbone)
            made_here = self.teacher.source in MADE_HERE
            if made_here and self.distill.gradient_checkpointing and not self.teacher.backbone.supports_checkpointing:
                raise ValueError(
                    f"distill.gradient_checkpointing true: teacher.backbone.kind `{self.teacher.backbone.kind}` does "
                    "not support it; set it to false, and lower distill.micro_batch_size to save memory"
                )
        allowed = MIRRORS.get(self.dataset.name, self.fetch.mirrors)
        for mirror in self.fetch.mirrors:
            if mirror not in allowed:
                raise ValueError(
                    f"fetch.mirrors: {mirror} has no {self.dataset.name} (dataset.name); take {' or '.join(allowed)}"
                )
        return self


def load_config(path: Path) -> Config:
    """Read and validate a params file.

    Raises:
        ConfigError: the file is missing, is no YAML mapping, or a key is wrong; names key, value and what is allowed.
    """
    try:
        values = read_yaml(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return parse_config(values, path)


def parse_config(values: Any, path: Path) -> Config:
    """Validate the values of the params file `path`.

    Raises:
        ConfigError: they are no mapping, or a key is wrong; names key, value and what is allowed.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping of parameters, not {type(values).__name__}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_sentence(item)}" for item in error.errors())) from error


def _sentence(item: Any) -> str:
    """One pydantic error as `key: what is allowed (got value)`."""
    key = ".".join(str(part) for part in item["loc"] if part not in SCHEDULE_TAGS) or "params"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its spelling (got {item['input']!r})"
    if item["type"] in ("missing", "value_error"):
        return f"{key}: {message}"
    return f"{key}: {message} (got {item['input']!r})"
