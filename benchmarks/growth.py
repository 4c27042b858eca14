"""How time and memory grow over two decades: of pairs made, solver steps, iterations, and images summed up."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.repeats import summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Job, Jobs, Plan, Worker, in_turns, peak_memory, repeated
from dmd.datasets.pairs import shard_rows, write_shards
from dmd.diffusion.sampler import sample
from dmd.evaluate.noises import Batch
from dmd.evaluate.summaries import summarise
from dmd.features.feature_net import load_features
from dmd.pairs.chunks import Chunks
from dmd.pairs.recipe import PairRecipe, make_pairs

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = {
    "pairs made": (16, 160, 1600),
    "solver steps": (1, 10, 100),
    "iterations": (2, 20, 200),
    "images summed up": (1000, 10_000, 100_000),
}
BATCH = 16
"""Rows of a batch of pairs; images of the solver's batch."""
SMALL = 2
"""Noises and pairs of an iteration: its cost a step is what is compared, not its size."""
SCORED = 250
"""Images of a batch that is summed up."""
SOLVER = ("ddim", 2, "trailing")


def pairs(count: int) -> Job:
    """Make pairs and write their shards, as the stage does."""
    shipped = Shipped()
    shape, scheduler = shipped.config.dataset.image_shape, shipped.teacher.scheduler_config
    recipe = PairRecipe(0, shape, shipped.classes, shipped.config.guidance_scale, scheduler, *SOLVER)
    shards = shard_rows(count, shipped.config.pairs.shard_size)

    def run() -> None:
        with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as out:
            chunks = Chunks(Path(work), BATCH)
            chunks.make(count, partial(make_pairs, shipped.guided, recipe))
            write_shards(Path(out), shards, chunks.read, recipe.columns)

    return run


def steps(count: int) -> Job:
    """One batch by so many steps of DDIM."""
    shipped = Shipped()
    z, labels, scheduler = shipped.noise(BATCH), shipped.labels(BATCH), shipped.teacher.scheduler_config
    return repeated(lambda: sample(shipped.guided, z, labels, scheduler, "ddim", count, "trailing"))


def iterations(count: int) -> Job:
    """So many iterations of a small batch."""
    shipped = Shipped()
    distiller = shipped.distiller(shipped.write_pairs(100), batch_size=SMALL, pairs_batch_size=SMALL)
    return repeated(lambda: [distiller.step(step) for step in range(count)])


def images(count: int) -> Job:
    """Sum up so many images that come in batches, drawn as they are asked for."""
    net, shape = load_features(Path("assets") / "lenet"), Shipped().config.dataset.image_shape

    def batches() -> Iterator[Batch]:
        source = torch.Generator().manual_seed(0)
        for _ in range(0, count, SCORED):
            yield torch.rand((SCORED, *shape), generator=source) * 2 - 1, None

    return repeated(lambda: summarise(net, batches(), count))


KINDS = dict(zip(SIZES, (pairs, steps, iterations, images), strict=True))


def jobs(kind: str, size: int) -> Jobs:
    """One size of one kind, and the largest memory of the process."""
    return {"run": KINDS[kind](size), "memory": peak_memory}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds and peak memory of each size; the ratios: the largest's seconds a unit, and memory, ÷ the least's."""
    rows: list[dict[str, Any]] = []
    ratios: dict[str, Any] = {}
    for kind, sizes in SIZES.items():
        workers = {size: Worker(jobs, kind, size, tuned=True) for size in sizes}
        sides = {str(size): (worker, "run") for size, worker in workers.items()}
        asked = {str(size): (worker, "memory") for size, worker in workers.items()}
        times, memory = in_turns(sides, plan, finally_ask=asked)
        for size in sizes:
            each = summary([value / size for value in times[str(size)]])
            rows.append({"what": kind, "number": size, "seconds_each": each, "peak_mib": memory[str(size)] / 2**20})
        low, high = str(sizes[0]), str(sizes[-1])
        name = kind.replace(" ", "_")
        pairwise = zip(times[high], times[low], strict=True)
        ratios[f"growth_seconds_{name}"] = summary([a / b * sizes[0] / sizes[-1] for a, b in pairwise])
        ratios[f"growth_memory_{name}"] = summary([memory[high] / memory[low]])
        ratios[f"growth_memory_{name}_last_decade"] = summary([memory[high] / memory[str(sizes[1])]])
    flat = [row | {"seconds_each": row["seconds_each"]["median"]} for row in rows]
    pd.DataFrame(flat).to_csv(RESULTS / "growth.csv", index=False, float_format="%.4g")
    return {"rows": rows, "ratios": ratios}
