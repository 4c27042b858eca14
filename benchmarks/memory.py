"""Peak memory of an iteration beside the arithmetic: over pairs, micro-batches, checkpointing and precision."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.repeats import summary
from benchmarks.shipped import CIFAR10, PARAMS, Shipped, count_parameters
from benchmarks.workers import Jobs, Plan, Worker, in_turns, peak_memory
from dmd.params.section import MixedPrecision

RESULTS = Path(__file__).resolve().parent / "results"
PAIRS = (100, 1000, 10_000)
NUMBERS_A_PARAMETER = {"weights": 3, "average": 1, "gradients": 2, "adamw": 4}
"""Of float32: three networks, the generator's average, and two trained networks' gradients and AdamW moments."""
MODELS = {"CIFAR-10 DDPM": 35.7e6, "ImageNet-64 ADM": 296e6, "SDXL": 2.6e9}
"""Parameters of networks that are too large to measure here, but for the first."""


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    system: Path = PARAMS
    batch: int = 32
    """Fresh noises, and as many pairs."""
    pairs: int = PAIRS[0]
    micro_batches: int = 1
    checkpointing: bool = False
    precision: MixedPrecision = None


LARGE = Setting(CIFAR10, batch=8)
SETTINGS = (
    *(Setting(pairs=count) for count in PAIRS),
    *(Setting(micro_batches=parts) for parts in (2, 4)),
    Setting(checkpointing=True),
    Setting(micro_batches=4, checkpointing=True),
    Setting(precision="bf16"),
)
LARGE_SETTINGS = (
    LARGE,
    replace(LARGE, micro_batches=2),
    replace(LARGE, checkpointing=True),
    replace(LARGE, precision="bf16"),
    replace(LARGE, batch=64, micro_batches=8),
)
"""Of cifar10's network, whose iterations are long: each is timed once. The last are the params of its system."""


def jobs(setting: Setting, pairs: Path) -> Jobs:
    """An iteration, and the memory it took beyond the libraries and the teacher."""
    shipped = Shipped(setting.system)
    before = peak_memory()
    distiller = shipped.distiller(
        pairs,
        batch_size=setting.batch,
        pairs_batch_size=setting.batch,
        micro_batch_size=setting.batch // setting.micro_batches,
        gradient_checkpointing=setting.checkpointing,
        mixed_precision=setting.precision,
    )
    steps = itertools.count()
    return {
        "iteration": lambda: distiller.step(next(steps)) and None,
        "memory": lambda: peak_memory() - before,
        "activations": lambda: saved_bytes(shipped, 2 * setting.batch // setting.micro_batches),
    }


def saved_bytes(shipped: Shipped, count: int) -> int:
    """Bytes that a forward pass of `count` images keeps for the backward pass, besides the weights; each once.

    In float32, and without checkpointing, which keeps its blocks' inputs where these hooks do not see them.
    """
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in shipped.teacher.backbone.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        t, labels = torch.full((count,), 600), shipped.labels(count)
        output = shipped.teacher.backbone(shipped.noise(count), t, class_labels=labels, return_dict=False)
    del output
    return sum(size for place, size in kept.items() if place not in weights)


COLUMNS = (
    *("system", "batch", "pairs", "micro_batches", "checkpointing", "precision"),
    *("peak_mib", "state_mib", "activations_mib", "peak_over_arithmetic", "seconds"),
)


def write_rows(rows: list[dict[str, Any]]) -> None:
    """`memory.csv`: the rows, with the peak ÷ state and activations where the activations were measured."""
    flat = [
        row
        | {"seconds": row["seconds"]["median"]}
        | {"peak_over_arithmetic": row["peak_mib"] / (row["state_mib"] + kept) if kept else None}
        for row in rows
        for kept in [row["activations_mib"]]
    ]
    pd.DataFrame(flat, columns=COLUMNS).to_csv(RESULTS / "memory.csv", index=False, float_format="%.4g")


def write_arithmetic() -> None:
    """`memory_arithmetic.csv`: gibibytes of state for networks of other sizes, without activations."""
    rows = [
        {"network": name, "million_parameters": count / 1e6}
        | {part: round(4 * number * count / 2**30, 2) for part, number in NUMBERS_A_PARAMETER.items()}
        | {"together": round(4 * sum(NUMBERS_A_PARAMETER.values()) * count / 2**30, 2)}
        | {"less with a bfloat16 real score": round(2 * count / 2**30, 2)}
        for name, count in MODELS.items()
    ]
    pd.DataFrame(rows).to_csv(RESULTS / "memory_arithmetic.csv", index=False)


def measure(plan: Plan) -> dict[str, Any]:
    """Bytes and seconds of an iteration in every setting."""
    rows = [measure_one(setting, plan) for setting in SETTINGS]
    rows += [measure_one(setting, Plan(1, plan.clock)) for setting in LARGE_SETTINGS]
    write_rows(rows)
    write_arithmetic()
    found = dict(zip(SETTINGS + LARGE_SETTINGS, rows, strict=True))
    peaks = {setting: row["peak_mib"] for setting, row in found.items()}
    seconds = {setting: row["seconds"]["median"] for setting, row in found.items()}
    plain, most_pairs = Setting(), Setting(pairs=PAIRS[-1])
    ratios = {
        "memory_growth_over_pairs": peaks[most_pairs] / peaks[plain],
        "seconds_growth_over_pairs": seconds[most_pairs] / seconds[plain],
    }
    for name, setting in (("", plain), ("cifar10_", LARGE)):
        changed = {
            "checkpointing": replace(setting, checkpointing=True),
            "bfloat16": replace(setting, precision="bf16"),
        }
        for what, other in changed.items():
            ratios[f"{name}memory_{what}_over_plain"] = peaks[other] / peaks[setting]
    return {"rows": rows, "ratios": {name: summary([value]) for name, value in ratios.items()}}


def measure_one(setting: Setting, plan: Plan) -> dict[str, Any]:
    """One row: what was set, peak memory, the arithmetic of the state, activations of a pass, seconds."""
    shipped = Shipped(setting.system)
    state = 4 * sum(NUMBERS_A_PARAMETER.values()) * count_parameters(shipped.teacher.backbone)
    worker = Worker(jobs, setting, shipped.write_pairs(setting.pairs), tuned=True)
    asked = {"memory": (worker, "memory")}
    if not setting.checkpointing and setting.precision is None:
        asked["kept"] = (worker, "activations")
    times, facts = in_turns({"iteration": (worker, "iteration")}, plan, finally_ask=asked)
    return {
        "system": shipped.config.system,
        "batch": setting.batch,
        "pairs": setting.pairs,
        "micro_batches": setting.micro_batches,
        "checkpointing": setting.checkpointing,
        "precision": setting.precision or "float32",
        "peak_mib": facts["memory"] / 2**20,
        "state_mib": state / 2**20,
        "activations_mib": facts["kept"] / 2**20 if "kept" in facts else None,
        "seconds": summary(times["iteration"]),
    }
