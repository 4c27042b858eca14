"""The precision of a training's passes: a tracked param decides it, not what a launcher left in the environment."""

import os

from accelerate import Accelerator
from accelerate.state import AcceleratorState

from dmd.runtime.launched import PRECISION, avoid_mps, check_settings


def build_accelerator(mixed_precision: str | None, key: str) -> Accelerator:
    """The accelerator of a training: passes in float32, or under autocast to bfloat16; weights are float32 in both.

    Raises:
        ValueError: the environment asks for another precision than the param `key`, or for what no param knows; or the
            device has no bfloat16.
    """
    check_settings()
    avoid_mps()
    wanted, launched = mixed_precision or "no", os.environ.get(PRECISION, "no")
    if launched not in ("no", wanted):
        raise ValueError(
            f"{PRECISION} is {launched}, but {key} is {mixed_precision or 'null'}: the launcher sets it, and DVC would "
            f"not know; set {key} instead, to bf16 or null, and launch with --mixed_precision no"
        )
    before = AcceleratorState().mixed_precision if AcceleratorState._shared_state else wanted
    if before != wanted:
        raise ValueError(
            f"{key} {mixed_precision or 'null'}: this process has trained in {before} before, and keeps that; start "
            "another one, or restart the notebook's kernel"
        )
    try:
        return Accelerator(mixed_precision=wanted)
    except ValueError as error:
        if mixed_precision is None:
            raise
        raise ValueError(f"{key} {mixed_precision}: {error} Set it to null") from error
