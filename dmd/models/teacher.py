"""The teacher on disk: one flat diffusers folder, whatever its source was."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DDPMScheduler, ModelMixin

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.backbones import load_backbone
from dmd.models.karras import is_karras, noise_table
from dmd.runtime.files import save_json
from dmd.runtime.handed import read_json


@dataclass(frozen=True)
class Teacher:
    """A network and its scheduler's config."""

    backbone: ModelMixin
    scheduler_config: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Read `config.json`, `diffusion_pytorch_model.safetensors` and `scheduler_config.json` from a folder.

        Raises:
            ValueError: one of them is missing or broken; names it.
        """
        config = read_json(Path(folder) / "scheduler_config.json")
        return cls(load_backbone(folder), {key: value for key, value in config.items() if not key.startswith("_")})

    def save(self, folder: Path) -> None:
        """Write the three files."""
        self.backbone.save_pretrained(folder, safe_serialization=True)
        save_json(Path(folder) / "scheduler_config.json", dict(self.scheduler_config))

    @property
    def schedule(self) -> NoiseSchedule:
        """The schedule the network was trained under."""
        if is_karras(self.scheduler_config):
            return noise_table(self.scheduler_config)
        return NoiseSchedule.from_scheduler(DDPMScheduler.from_config(dict(self.scheduler_config)))

    @property
    def denoiser(self) -> Denoiser:
        """The network as a denoiser; shares its weights."""
        prediction, config = self.scheduler_config.get("prediction_type", "epsilon"), self.scheduler_config
        return Denoiser(self.backbone, self.schedule, prediction, config.get("sigma_data", 0.5))
