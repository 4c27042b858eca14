"""The teacher on disk: one flat diffusers folder, whatever its source was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DDPMScheduler, ModelMixin

from dmd.backbones import load_backbone
from dmd.checkpoint import load_json, save_json
from dmd.denoiser import Denoiser
from dmd.schedule import NoiseSchedule

SCHEDULE_KEYS = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type")


@dataclass(frozen=True)
class Teacher:
    """A network and its scheduler's config."""

    backbone: ModelMixin
    scheduler_config: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Read `config.json`, `diffusion_pytorch_model.safetensors` and `scheduler_config.json` from a folder."""
        config = load_json(Path(folder) / "scheduler_config.json")
        return cls(load_backbone(folder), {key: value for key, value in config.items() if not key.startswith("_")})

    def save(self, folder: Path) -> None:
        """Write the three files."""
        self.backbone.save_pretrained(folder, safe_serialization=True)
        save_json(Path(folder) / "scheduler_config.json", dict(self.scheduler_config))

    @property
    def schedule(self) -> NoiseSchedule:
        """The schedule the network was trained under."""
        return NoiseSchedule.from_scheduler(DDPMScheduler.from_config(dict(self.scheduler_config)))

    @property
    def denoiser(self) -> Denoiser:
        """The network as a denoiser; shares its weights."""
        return Denoiser(self.backbone, self.schedule, self.scheduler_config.get("prediction_type", "epsilon"))


def check_teacher(
    teacher: Teacher, schedule: Mapping[str, Any], image_shape: Sequence[int], num_classes: int | None
) -> None:
    """Hold a teacher against the params.

    Raises:
        ValueError: its schedule, image shape or classes are not those of the params; names both values and the cure.
    """
    for key in SCHEDULE_KEYS:
        found = teacher.scheduler_config.get(key)
        if found != schedule[key]:
            raise ValueError(
                f"teacher.schedule.{key} is {schedule[key]!r}, but the checkpoint was trained with {found!r}: "
                "the checkpoint is right; correct the params"
            )
    config = teacher.backbone.config
    size = (config.sample_size,) * 2 if isinstance(config.sample_size, int) else tuple(config.sample_size)
    shape = (config.in_channels, *size)
    if shape != tuple(image_shape):
        raise ValueError(
            f"dataset.image_shape is {tuple(image_shape)}, but the teacher draws {shape}: change one of them"
        )
    embeds = config.num_class_embeds
    if embeds not in ((None,) if num_classes is None else (num_classes, num_classes + 1)):
        raise ValueError(f"dataset.num_classes is {num_classes}, but the teacher has {embeds} class embeddings")
