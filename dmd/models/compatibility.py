"""Do params and checkpoint speak of the same model? Held on the configs alone, before weights are brought or loaded."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import diffusers

from dmd.diffusion.guidance import check_null_class
from dmd.models.backbones import BACKBONES, check_checkpointing

SCHEDULE_KEYS = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "prediction_type")


def training_schedule(scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    """The noise schedule that a scheduler's config describes, by `SCHEDULE_KEYS`.

    What the config does not say is its class's own default, as diffusers reads it.

    Raises:
        ValueError: the class has no betas (variance exploding, EDM and flow models), or they are changed by
            `trained_betas` or `rescale_betas_zero_snr`; names key and value.
    """
    name = scheduler_config.get("_class_name", "DDPMScheduler")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    known = inspect.signature(kind).parameters if inspect.isclass(kind) else {}
    if not set(SCHEDULE_KEYS) <= set(known):
        raise ValueError(
            f"scheduler_config.json: _class_name is {name!r}, which is no scheduler with betas that diffusers knows; "
            "set teacher.source to a variance-preserving model"
        )
    for key in ("trained_betas", "rescale_betas_zero_snr"):
        if scheduler_config.get(key):
            raise ValueError(
                f"scheduler_config.json: {key} is {scheduler_config[key]!r}, which teacher.schedule cannot say; "
                "set teacher.source to a model without it"
            )
    return {key: scheduler_config.get(key, known[key].default) for key in SCHEDULE_KEYS}


def without_own_betas(config: Mapping[str, Any], scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config without the `trained_betas` that follow from the network's own config (`teapearce`)."""
    kept = dict(scheduler_config)
    if config.get("_class_name") == "TeaPearceUNet":
        kept.pop("trained_betas", None)
    return kept


def check_agreement(
    config: Mapping[str, Any],
    scheduler_config: Mapping[str, Any],
    schedule: Mapping[str, Any] | None,
    image_shape: Sequence[int],
    num_classes: int | None,
    guidance_scale: float = 1.0,
    gradient_checkpointing: bool = False,
) -> dict[str, Any]:
    """Hold the configs of a checkpoint against the params.

    Args:
        config: the network's.
        scheduler_config: its scheduler's.
        schedule: the params' values of `SCHEDULE_KEYS`; None takes the checkpoint's.
        image_shape: channels, height, width.
        num_classes: None for an unconditional model; a conditional one may have a null class on top.
        guidance_scale: any but 1.0 needs the null class.
        gradient_checkpointing: true needs a network with blocks for it.

    Returns:
        The checkpoint's values of `SCHEDULE_KEYS`.

    Raises:
        ValueError: they disagree, or the params ask for what the network has not; names key, values and the cure.
    """
    _check_network(config, image_shape, num_classes)
    check_null_class(guidance_scale, config.get("num_class_embeds"), num_classes)
    check_checkpointing(gradient_checkpointing, config["_class_name"])
    found = training_schedule(without_own_betas(config, scheduler_config))
    cosine = found["beta_schedule"] == "squaredcos_cap_v2"  # its betas follow from T alone
    for key in SCHEDULE_KEYS:
        if schedule is None or schedule[key] == found[key] or (cosine and key in ("beta_start", "beta_end")):
            continue
        raise ValueError(
            f"teacher.schedule.{key} is {schedule[key]!r}, but the checkpoint was trained with {found[key]!r}: the "
            "checkpoint is right; correct the params, or set teacher.schedule to null to take all of it from there"
        )
    return found


def _check_network(config: Mapping[str, Any], image_shape: Sequence[int], num_classes: int | None) -> None:
    channels, height, width = image_shape
    sizes = (None, height, [height, width]) if height == width else (None, [height, width])
    shape, classes = f"dataset.image_shape {list(image_shape)}", f"dataset.num_classes {num_classes}"
    for key, allowed, source in (
        ("_class_name", tuple(BACKBONES), "this pipeline"),
        ("in_channels", (channels,), shape),
        ("out_channels", (channels,), shape),
        ("sample_size", sizes, shape),
        ("class_embed_type", (None,), "this pipeline"),
        ("num_class_embeds", (None,) if num_classes is None else (num_classes + 1, num_classes), classes),
    ):
        value = config.get(key)
        if (list(value) if isinstance(value, tuple) else value) not in allowed:
            needed = " or ".join(str(item) for item in allowed if item is not None or len(allowed) == 1)
            raise ValueError(
                f"config.json: {key} is {value}, but {source} needs {needed}; "
                "set teacher.source to a teacher that fits, or change the dataset"
            )
