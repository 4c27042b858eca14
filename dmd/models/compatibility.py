"""Do params and checkpoint speak of the same model? Held on the configs alone, before weights are brought or loaded."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import diffusers

from dmd.diffusion.calls import class_embeds
from dmd.diffusion.guidance import check_null_class
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.backbones import BACKBONES, OF_LATENTS, OF_TEXT, check_checkpointing
from dmd.models.codec import multiple_of
from dmd.models.codec_configs import check_codec
from dmd.models.config_bounds import NetworkConfig, validate
from dmd.models.karras import is_karras, karras_values, laid_out, noise_table
from dmd.models.network_configs import CONFIGS, check_images_pass
from dmd.params.karras import KarrasSchedule
from dmd.params.teacher import Schedule

SCHEDULE_KEYS = tuple(Schedule.model_fields)

OTHER_BETAS = ("trained_betas", "rescale_betas_zero_snr", "snr_shift_scale", "use_flow_sigmas")
"""What changes a scheduler's noise beside `SCHEDULE_KEYS`."""


def training_schedule(scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    """The noise schedule that a scheduler's config describes, by `SCHEDULE_KEYS`.

    What the config does not say is its class's own default, as diffusers reads it. An EDM teacher's has the keys of a
    `KarrasSchedule` instead. The bounds are those of `teacher.schedule`.

    Raises:
        ValueError: the class has no betas (variance exploding and flow models), they are changed by one of
            `OTHER_BETAS`, or a value is out of bounds; names key and value.
    """
    if is_karras(scheduler_config):
        return validate(KarrasSchedule, karras_values(scheduler_config), "scheduler_config.json").model_dump()
    name = scheduler_config.get("_class_name", "DDPMScheduler")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    known = inspect.signature(kind).parameters if inspect.isclass(kind) else {}
    if not set(SCHEDULE_KEYS) <= set(known):
        raise ValueError(
            f"scheduler_config.json: _class_name is {name!r}, which is no scheduler with betas that diffusers knows; "
            "set teacher.source to a variance-preserving or EDM model"
        )
    for key in sorted(known.keys() & OTHER_BETAS):
        value = scheduler_config.get(key, known[key].default)
        if value is not None and value is not False:
            raise ValueError(
                f"scheduler_config.json: {key} is {value!r:.100}, which teacher.schedule cannot say; "
                "set teacher.source to a model without it"
            )
    found = {key: scheduler_config.get(key, known[key].default) for key in SCHEDULE_KEYS}
    return validate(Schedule, found, "scheduler_config.json").model_dump()


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
    codec: Mapping[str, Any] | None = None,
    text: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Hold the configs of a checkpoint against the params.

    Args:
        config: the network's.
        scheduler_config: its scheduler's.
        schedule: the params' values of `teacher.schedule`; None takes the checkpoint's.
        image_shape: channels, height, width.
        num_classes: None for an unconditional model; a conditional one may have a null class on top.
        guidance_scale: any but 1.0 needs the null class; prompts always bring a null prompt.
        gradient_checkpointing: true needs a network with blocks for it.
        codec, text: the configs of the autoencoder and of the text encoder that go with the network, where they do.

    Returns:
        The checkpoint's values of `teacher.schedule`; of an EDM teacher, in the table that the params want.

    Raises:
        ValueError: they disagree, or the params ask for what the network has not; names key, values and the cure.
    """
    shape = image_shape if codec is None else check_codec(codec, image_shape, multiple_of(config))
    network = _check_network(config, shape, num_classes, codec is not None, text)
    check_null_class(1.0 if text else guidance_scale, class_embeds(config), num_classes)
    check_checkpointing(gradient_checkpointing, config["_class_name"])
    found = laid_out(training_schedule(without_own_betas(config, scheduler_config)), schedule)
    _compare(schedule or found, found)
    _check_noise(found, of_latents=codec is not None)
    check_own_schedule(network, found)
    check_images_pass(config, shape)
    return found


def check_own_schedule(network: NetworkConfig, schedule: Mapping[str, Any]) -> None:
    """Hold a schedule against a network that has one of its own (`teapearce`), or a row for each timestep.

    Raises:
        ValueError: they disagree, or the schedule is EDM's and the network cannot be told noise levels; names the key
            and both values.
    """
    if is_karras(schedule) and not network.takes_levels:
        raise ValueError(
            "config.json: a network that looks its times up cannot be told EDM's noise levels; set teacher.source to a "
            "UNet2DModel with time_embedding_type positional"
        )
    for key, value in network.own_schedule.items():
        if schedule[key] != value:
            raise ValueError(
                f"teacher.schedule.{key} is {schedule[key]!r}, but config.json is of a network made for {value!r}; "
                "set teacher.source to a teacher that fits"
            )
    rows = network.timesteps
    if rows is not None and rows < schedule["num_train_timesteps"]:
        raise ValueError(
            f"config.json: num_train_timesteps is {rows}, but scheduler_config.json counts "
            f"{schedule['num_train_timesteps']}; set teacher.source to a teacher that fits"
        )


def _compare(schedule: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Hold the params' schedule against the checkpoint's."""
    cosine = found.get("beta_schedule") == "squaredcos_cap_v2"  # its betas follow from T alone
    for key in ("prediction_type", *found):  # which comes first, since the other keys belong to it
        if schedule[key] != found[key] and not (cosine and key in ("beta_start", "beta_end")):
            raise ValueError(
                f"teacher.schedule.{key} is {schedule[key]!r}, but the checkpoint was trained with {found[key]!r}: the "
                "checkpoint is right; correct the params, or set teacher.schedule to null to take all of it from there"
            )


def _check_noise(schedule: Mapping[str, Any], of_latents: bool) -> None:
    """Refuse betas that leave no signal, noise levels that are none in float32, and any of latents."""
    if of_latents and is_karras(schedule):
        raise ValueError(
            "scheduler_config.json: noise levels of EDM in latents, which no stock pipeline draws in one step; set "
            "teacher.source to a variance-preserving model"
        )
    try:
        if is_karras(schedule):
            noise_table(schedule)
        else:
            NoiseSchedule.from_scheduler(diffusers.DDPMScheduler.from_config(dict(schedule)))
    except ValueError as error:
        values = ", ".join(f"{key} {value}" for key, value in schedule.items())
        raise ValueError(
            f"scheduler_config.json: no schedule of noise: {values}: {error}; set teacher.source to another model"
        ) from error


Compared = Iterator[tuple[str, tuple[Any, ...], str]]
"""Keys of a network's config, each with the values that are right, and what needs them."""


def _check_network(
    config: Mapping[str, Any],
    shape: Sequence[int],
    num_classes: int | None,
    of_latents: bool,
    text: Mapping[str, Any] | None,
) -> NetworkConfig:
    compared = _compared(config, shape, num_classes, of_latents)
    for key, allowed, source in compared if text is None else _compared_with_text(text, compared):
        value = config.get(key)
        said = repr(list(value) if isinstance(value, tuple) else value)  # 28.0 equals 28, and is no size
        if said not in map(repr, allowed):
            needed = " or ".join(str(item) for item in allowed if item is not None or len(allowed) == 1)
            needed = needed or "a square"
            raise ValueError(
                f"config.json: {key} is {value!s:.100}, but {source} needs {needed}; "
                "set teacher.source to a teacher that fits, or change the dataset"
            )
    return validate(CONFIGS[config["_class_name"]], config, "config.json")


def _compared(config: Mapping[str, Any], shape: Sequence[int], num_classes: int | None, of_latents: bool) -> Compared:
    """What is compared with the params."""
    (channels, height, width), name = shape, config.get("_class_name")
    taken, classes = f"dataset.image_shape {list(shape)}", f"dataset.num_classes {num_classes}"
    sides: tuple[Any, ...] = (height,) if height == width else ()
    if of_latents:
        taken = f"the codec, whose latents are {list(shape)},"
        kind = OF_LATENTS[num_classes is not None]
        yield "_class_name", (kind,), f"a codec with {classes}"
    else:
        latents_alone = ("DiTTransformer2DModel", OF_TEXT)
        yield "_class_name", tuple(kind for kind in BACKBONES if kind not in latents_alone), "this pipeline"
        if name == "UNet2DModel":  # the networks of this project have a side and no shape
            sides = (None, *sides, [height, width])
    yield "in_channels", (channels,), taken
    yield "sample_size", sides, taken
    yield "class_embed_type", (None,), "this pipeline"
    if name == "DiTTransformer2DModel":  # which may predict a variance too
        yield "out_channels", (None, channels, 2 * channels), taken
        yield "num_embeds_ada_norm", (num_classes,), classes
    else:
        yield "out_channels", (channels,), taken
        yield "num_class_embeds", (None,) if num_classes is None else (num_classes + 1, num_classes), classes


def _compared_with_text(text: Mapping[str, Any], compared: Compared) -> Compared:
    """The same for a network that is told prompts, which has a class of its own."""
    yield "_class_name", (OF_TEXT,), "a text encoder"
    yield from (row for row in compared if row[0] != "_class_name")
    yield "cross_attention_dim", (text.get("hidden_size"),), "the text encoder, by its hidden_size,"
