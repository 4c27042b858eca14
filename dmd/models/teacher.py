"""The teacher on disk: one flat diffusers folder, whatever its source was.

Beside it lie `codec/` where it makes latents, and where it is told prompts `prompts/`, `tokenizer/`, `text_encoder/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import DDPMScheduler, ModelMixin
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.prompts import Prompts
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models import text
from dmd.models.backbones import load_backbone
from dmd.models.codec import FOLDER, Codec, build_codec, load_autoencoder
from dmd.models.karras import is_karras, noise_table
from dmd.runtime.files import save_json
from dmd.runtime.handed import read_json

HASHED = {
    "sha256": SAFETENSORS_WEIGHTS_NAME,
    "codec_sha256": f"{FOLDER}/{SAFETENSORS_WEIGHTS_NAME}",
    "text_encoder_sha256": f"{text.ENCODER}/{text.WEIGHTS}",
}
"""Keys of a `provenance.json`, and the weights whose hashes they are: of the network and what goes with it."""


@dataclass(frozen=True)
class Teacher:
    """A network, its scheduler's config, and what goes with networks of latents and of text."""

    backbone: ModelMixin
    scheduler_config: Mapping[str, Any]
    autoencoder: ModelMixin | None = None
    """Whose latents the network makes; None for a network of pixels."""
    prompts: Prompts | None = None
    """What labels mean to a network of text."""
    text_folder: Path | None = None
    """The folder with `tokenizer/` and `text_encoder/` of a network of text."""

    @classmethod
    def load(cls, folder: Path) -> "Teacher":
        """Read `config.json`, `diffusion_pytorch_model.safetensors`, `scheduler_config.json`; `codec/` if there is one.

        Raises:
            ValueError: one of them is missing or broken; names it.
        """
        config, codec = read_json(Path(folder) / "scheduler_config.json"), Path(folder) / FOLDER
        return cls(
            load_backbone(folder),
            {key: value for key, value in config.items() if not key.startswith("_")},
            load_autoencoder(codec) if codec.is_dir() else None,
            text.load_prompts(Path(folder)),
            Path(folder) if (Path(folder) / text.ENCODER).is_dir() else None,
        )

    def save(self, folder: Path) -> None:
        """Write the three files, and what goes with a network of latents or of text."""
        self.backbone.save_pretrained(folder, safe_serialization=True)
        save_json(Path(folder) / "scheduler_config.json", dict(self.scheduler_config))
        if self.autoencoder is not None:
            self.autoencoder.save_pretrained(Path(folder) / FOLDER, safe_serialization=True)
        if self.prompts is not None:
            text.save_prompts(Path(folder), self.prompts)
        if self.text_folder is not None:
            text.copy_text(self.text_folder, Path(folder))

    def num_labels(self, num_classes: int | None) -> int | None:
        """How many labels there are to draw: the prompts to train on, else the classes; None for none."""
        return num_classes if self.prompts is None else self.prompts.count

    def codec(self, image_shape: Sequence[int]) -> Codec:
        """Between images of this shape and what the network makes; shares the autoencoder's weights."""
        return build_codec(self.autoencoder, image_shape, self.backbone.config)

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
        return Denoiser(self.backbone, self.schedule, prediction, config.get("sigma_data", 0.5), self.prompts)
