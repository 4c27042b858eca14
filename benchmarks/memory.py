"""Peak memory of an iteration beside the arithmetic, over micro-batches and over two decades of pairs."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks.repeats import summary
from benchmarks.shipped import Shipped, count_parameters
from benchmarks.workers import Jobs, Plan, Worker, in_turns, peak_memory

RESULTS = Path(__file__).resolve().parent / "results"
PAIRS = (100, 1000, 10_000)
MICRO_BATCHES = (2, 4)
"""So many parts of a batch, besides the whole."""
NUMBERS_A_PARAMETER = {"weights": 3, "average": 1, "gradients": 2, "adamw": 4}
"""Of float32: three networks, the generator's average, and two trained networks' gradients and AdamW moments."""
MODELS = {"CIFAR-10 DDPM": 35.7e6, "ImageNet-64 ADM": 296e6, "SDXL": 2.6e9}
"""Parameters of networks that are too large to measure here."""


def jobs(pairs: Path, micro_batches: int) -> Jobs:
    """An iteration, and the memory it took beyond the libraries and the teacher."""
    shipped = Shipped()
    before = peak_memory()
    part = shipped.config.distill.batch_size // micro_batches
    distiller = shipped.distiller(pairs, micro_batch_size=part)
    steps = itertools.count()
    size = (shipped.config.distill.batch_size + shipped.config.distill.pairs_batch_size) // micro_batches
    saved = saved_bytes(shipped, size)
    return {
        "iteration": lambda: distiller.step(next(steps)) and None,
        "memory": lambda: (peak_memory() - before, saved),
    }


def saved_bytes(shipped: Shipped, count: int) -> int:
    """Bytes that a forward pass of `count` images keeps for the backward pass, besides the weights; each once."""
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in shipped.teacher.backbone.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        t = torch.full((count,), 600)
        output = shipped.teacher.backbone(shipped.noise(count), t, class_labels=shipped.labels(count)).sample
    del output
    return sum(size for place, size in kept.items() if place not in weights)


def write_arithmetic() -> None:
    """`memory_arithmetic.csv`: gibibytes of state for networks of other sizes, without activations."""
    rows = [
        {"network": name, "million_parameters": count / 1e6}
        | {part: round(4 * number * count / 2**30, 2) for part, number in NUMBERS_A_PARAMETER.items()}
        | {"together": round(4 * sum(NUMBERS_A_PARAMETER.values()) * count / 2**30, 2)}
        for name, count in MODELS.items()
    ]
    pd.DataFrame(rows).to_csv(RESULTS / "memory_arithmetic.csv", index=False)


def measure(plan: Plan) -> dict[str, Any]:
    """Bytes and seconds of an iteration: one row for each number of pairs, one for each number of micro-batches."""
    shipped, rows = Shipped(), []
    state = 4 * sum(NUMBERS_A_PARAMETER.values()) * count_parameters(shipped.teacher.backbone)
    folders = {count: shipped.write_pairs(count) for count in PAIRS}
    settings = [(count, 1) for count in PAIRS] + [(PAIRS[0], parts) for parts in MICRO_BATCHES]
    for count, parts in settings:
        worker = Worker(jobs, folders[count], parts, tuned=True)
        times, facts = in_turns({"iteration": (worker, "iteration")}, plan, finally_ask={"memory": (worker, "memory")})
        peak, saved = facts["memory"]
        row = {"pairs": count, "micro_batches": parts, "peak_mib": peak / 2**20, "state_mib": state / 2**20}
        rows.append(row | {"activations_mib": saved / 2**20, "seconds": summary(times["iteration"])})
    flat = [row | {"seconds": row["seconds"]["median"]} for row in rows]
    pd.DataFrame(flat).to_csv(RESULTS / "memory.csv", index=False, float_format="%.4g")
    write_arithmetic()
    peaks, seconds = ([row[key] for row in flat[: len(PAIRS)]] for key in ("peak_mib", "seconds"))
    growth = {"memory_growth_over_pairs": peaks[-1] / peaks[0], "seconds_growth_over_pairs": seconds[-1] / seconds[0]}
    return {"rows": rows, "ratios": {name: summary([value]) for name, value in growth.items()}}
