"""The noise schedule of EDM teachers: what a scheduler's config says of it, and what the network is told."""

from collections.abc import Mapping
from typing import Any

from dmd.diffusion.schedule import NoiseSchedule
from dmd.params.karras import KarrasSchedule

TIME_SCALES = {
    "EDMEulerScheduler": 0.25,
    "EDMDPMSolverMultistepScheduler": 0.25,
    "CMStochasticIterativeScheduler": 250.0,
}
"""Schedulers with EDM preconditioning, by class: the network is told so many times ln sigma."""

OF_THE_NETWORK = ("prediction_type", "sigma_data", "time_scale")
"""Keys of a `KarrasSchedule` in which params and checkpoint must agree; the others lay out the table."""


def is_karras(scheduler_config: Mapping[str, Any]) -> bool:
    """Whether the config is of an EDM teacher: of one of diffusers' classes, or as `models/<system>/teacher` has it."""
    name = scheduler_config.get("_class_name")
    return "time_scale" in scheduler_config or (isinstance(name, str) and name in TIME_SCALES)


def karras_values(scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    """What an EDM teacher's scheduler config says of a `KarrasSchedule`, whose bounds are not yet checked.

    The number of levels is none of the network's business, which is told the level: it is the default's, unless this
    project wrote the file.

    Raises:
        ValueError: the config is a consistency model's, or asks for another sign of F; names key, value and cure.
    """
    own = {key: scheduler_config[key] for key in KarrasSchedule.model_fields if key in scheduler_config}
    if "time_scale" in own:
        return own
    name = scheduler_config["_class_name"]
    if own.pop("prediction_type", "epsilon") != "epsilon":
        raise ValueError(
            f"scheduler_config.json: prediction_type is {scheduler_config['prediction_type']!r} under {name}; only "
            "epsilon, EDM's own preconditioning, can be taken: name another teacher.source"
        )
    if name == "CMStochasticIterativeScheduler" and own.pop("sigma_min", 0.002) != 0:
        raise ValueError(
            f"scheduler_config.json: {name} with another sigma_min than 0 is a consistency model's, whose output is no "
            "denoised image at its noise: set teacher.source to the EDM model that it was distilled from; if this is "
            "one, set sigma_min to 0 there"
        )
    own.pop("num_train_timesteps", None)
    return {**own, "prediction_type": "edm", "time_scale": TIME_SCALES[name]}


def laid_out(found: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    """A checkpoint's schedule with the table that the params want, where the network leaves that free."""
    if wanted is None or not is_karras(found):
        return dict(found)
    return {key: value if key in OF_THE_NETWORK else wanted.get(key, value) for key, value in found.items()}


def noise_table(schedule: Mapping[str, Any]) -> NoiseSchedule:
    """The noise levels of the values of a `KarrasSchedule`."""
    keys = ("num_train_timesteps", "sigma_min", "sigma_max", "rho", "time_scale")
    return NoiseSchedule.from_karras(*(schedule[key] for key in keys))
