"""Tiny systems of latents and of text, killed and launched as those of pixels are, from the stage `teacher` on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmd.fetch.teacher import find_teacher, place_teacher
from tests.survival.victims import SCORED, SYSTEM, TRAINED, make_images, make_system, write_params

CODEC: dict[str, Any] = {
    "block_out_channels": [4, 4, 4],
    "layers_per_block": 1,
    "latent_channels": 2,
    "norm_num_groups": 2,
    "training": {
        "steps": 10,
        "batch_size": 4,
        "learning_rate": 2.0e-3,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "max_grad_norm": 1.0,
        "kl_weight": 1.0e-3,
        "checkpoint_steps": 2,
    },
}
DIT = {"kind": "dit", "num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 4, "patch_size": 2}
LATENT: dict[str, Any] = {
    **{key: value for key, value in TRAINED.items() if not key.startswith("teacher.backbone.")},
    "teacher.codec": CODEC,
    "teacher.backbone": DIT,
}
TEXT: dict[str, Any] = {
    "teacher.source": "given",
    "teacher.schedule.beta_schedule": "scaled_linear",
    "teacher.schedule.beta_start": 0.00085,
    "teacher.schedule.beta_end": 0.012,
    "dataset.num_classes": None,
    "dataset.prompts": "prompts.csv",
}
ADAPTERS = {"distill.lora": {"rank": 2}}


def write_pipeline(folder: Path) -> None:
    """A stock text-to-image pipeline of MNIST's shape in `folder/given`, and `folder/prompts.csv`."""
    from tests.models.tiny_text import HELD_OUT, PROMPTS, pipeline  # skips where `transformers` is not installed

    pipeline(channels=1, side=16).save_pretrained(folder / "given")
    lines = [f"{prompt},train" for prompt in PROMPTS] + [f"{prompt},test" for prompt in HELD_OUT]
    (folder / "prompts.csv").write_text("\n".join(["prompt,split", *lines]), encoding="utf-8")


def make_latent(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """A system whose autoencoder and DiT are trained on 64 images."""
    make_images(folder)
    write_params(folder, SCORED | LATENT | (changes or {}))
    (folder / "data" / SYSTEM / "weights" / "perceptual").mkdir(parents=True)


def make_text(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """A system with a text-to-image pipeline and prompts, as `fetch` brings them."""
    make_images(folder)
    write_params(folder, SCORED | TEXT | (changes or {}))
    write_pipeline(folder)
    weights = folder / "data" / SYSTEM / "weights"
    (weights / "perceptual").mkdir(parents=True)
    given = find_teacher(str(folder / "given"), None, folder, 1.0)
    place_teacher(given, weights / "teacher", folder / "prompts.csv")


def make_adapters(folder: Path, changes: dict[str, Any] | None = None) -> None:
    """As `make_text`, with adapters in place of whole networks."""
    make_text(folder, ADAPTERS | (changes or {}))


KINDS: dict[str, Callable[[Path, dict[str, Any] | None], None]] = {
    "pixels": make_system,
    "latent": make_latent,
    "text": make_text,
    "adapters": make_adapters,
}
"""How a system is made, by what its teacher makes: that of pixels has its teacher already."""


def stages_before(stage: str, folder: Path) -> list[str]:
    """The stages that have to run in a new system's folder before `stage`."""
    order = ["teacher", "pairs", "distill"]
    there = (folder / "models" / SYSTEM / "teacher").is_dir()
    return order[int(there) : order.index(stage)]
