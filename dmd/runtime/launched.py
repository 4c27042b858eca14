"""What launchers leave in the environment: which process of its run this one is, and settings that params decide."""

import os

import torch

OFF = ("no", "n", "false", "f", "off", "0")
"""How accelerate reads a switch that is off, in any case of letters."""

SWITCH = (*OFF, "yes", "y", "true", "t", "on", "1")
"""All that it reads as a switch."""

PREFIX = "ACCELERATE_"
PRECISION = "ACCELERATE_MIXED_PRECISION"
"""Where accelerate's launcher leaves what it was told or configured; each training compares it with its own param."""

PLACES = ("ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_DEBUG_MODE", "FORK_LAUNCHED")
"""Switches that say where a run takes place, not what it computes."""

NEUTRAL = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1",),
    "ACCELERATE_DYNAMO_BACKEND": ("no",),
    "ACCELERATE_DYNAMO_MODE": ("default",),
    "ACCELERATE_TORCH_DEVICE": (),
    "ACCELERATE_FP8_BACKEND": (),
    "ACCELERATE_LOG_LEVEL": ("debug", "info", "warning", "error", "critical"),
    **dict.fromkeys(PLACES, SWITCH),
}
"""Values that leave the numbers as they are; of every other setting of accelerate's, only OFF does."""

CURES = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ", and set distill.micro_batch_size",
    "ACCELERATE_DYNAMO_BACKEND": ", and set pairs.compile and distill.compile",
    "ACCELERATE_TORCH_DEVICE": "; CUDA_VISIBLE_DEVICES or ACCELERATE_USE_CPU choose the device",
}

SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where torchrun and the MPI implementations say how many processes there are; accelerate reads them all."""

NUMBERS = (*SIZES, "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
"""What is a whole number wherever it is set."""

GROUP = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a process must know to join the others."""

LAUNCH = (
    "start it with `torchrun --nproc_per_node N` or `accelerate launch --multi_gpu --num_processes N`, also on CPUs"
)


def is_worker() -> bool:
    """Whether this process only helps with work that another one assembles: `$DMD_WORKER` is set to anything."""
    return bool(os.environ.get("DMD_WORKER"))


def is_first_process() -> bool:
    """Whether this is the process of its run that writes files; the launcher numbers them in `$RANK`.

    Raises:
        ValueError: that is no whole number.
    """
    return not _number("RANK")


def is_in_group() -> bool:
    """Whether a launcher made this process one of a group, maybe the only one: it has `$LOCAL_RANK`.

    Raises:
        ValueError: that is no whole number.
    """
    return _number("LOCAL_RANK") is not None


def check_processes() -> None:
    """Refuse an environment in which this process would not know which one of its run it is.

    Alone, it has no LOCAL_RANK, and no size is above 1; in a group all of GROUP are set. So accelerate, which looks at
    LOCAL_RANK, and `is_first_process`, which looks at RANK, never differ.

    Raises:
        ValueError: names the variable, its value, and launchers that set them all.
    """
    numbers = {name: number for name in NUMBERS if (number := _number(name)) is not None}
    crowd = [name for name in SIZES if numbers.get(name, 1) > 1] + [name for name in ("RANK",) if numbers.get(name)]
    if not crowd and "LOCAL_RANK" not in numbers:
        _check_not_alone_by_mistake()
        return
    missing = [name for name in GROUP if name not in numbers and (name != "MASTER_ADDR" or not os.environ.get(name))]
    if missing:
        said = ", ".join(f"{name} {numbers[name]}" for name in crowd or ["LOCAL_RANK"])
        raise ValueError(
            f"the environment has {said}, but not {', '.join(missing)}: this process of a group would take itself for "
            f"the only one; {LAUNCH}, or set them as these do (LOCAL_RANK counts the processes of one machine from 0)"
        )
    for name in ("RANK", "LOCAL_RANK"):
        if numbers[name] >= numbers["WORLD_SIZE"]:
            raise ValueError(f"{name} is {numbers[name]}, but WORLD_SIZE {numbers['WORLD_SIZE']}; {LAUNCH}")
    _number("OMP_NUM_THREADS")  # accelerate reads it in a group


def check_shared(stage: str, shared: bool) -> None:
    """Refuse a group of several processes for work that they cannot share: each would write the same files.

    Raises:
        ValueError: names the stage and how to start it.
    """
    if not shared and (_number("WORLD_SIZE") or 1) > 1:
        raise ValueError(
            f"WORLD_SIZE is {_number('WORLD_SIZE')}, but several processes cannot share the stage `{stage}`; start it "
            f"alone: python -m stages.{stage}"
        )


def _check_not_alone_by_mistake() -> None:
    """Refuse `accelerate launch --cpu --num_processes N`: without MPI it starts one process, told where N meet."""
    if not any(name in os.environ for name in SIZES) and {"MASTER_ADDR", "ACCELERATE_USE_CPU"} <= os.environ.keys():
        raise ValueError(
            "`accelerate launch` has started one process for --num_processes above 1, as it does with --cpu; "
            "take `torchrun --nproc_per_node N`, or `accelerate launch --multi_gpu --num_processes N`, also on CPUs"
        )


def avoid_mps() -> None:
    """Let accelerate take the CPU of a Mac: its graphics have no float64, in which schedules and sums are kept."""
    if torch.backends.mps.is_available():
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")


def check_settings() -> None:
    """Refuse what accelerate would take from the environment and DVC would not know; the precision is looked at later.

    Raises:
        ValueError: names the variable, its value and the cure.
    """
    for name, value in sorted(os.environ.items()):
        if name == PRECISION or not (name.startswith(PREFIX) or name in PLACES):
            continue
        allowed = NEUTRAL.get(name, OFF)
        if value.lower() not in allowed:
            why = f"which is none of {', '.join(allowed)}" if name in PLACES else "by which results would change"
            raise ValueError(f"{name} is {value!r} in the environment, {why}; unset it{CURES.get(name, '')}")


def _number(name: str) -> int | None:
    """The whole number of a variable; None where it is not set, or -1, by which launchers say the same."""
    value = os.environ.get(name, "-1")
    if value != "-1" and not (value.isascii() and value.isdecimal()):
        raise ValueError(f"{name} is {value!r} in the environment, no whole number from 0; unset it, or {LAUNCH}")
    return None if value == "-1" else int(value)
