"""Pairs by the system's solver and by 1000 ancestral steps: seconds and Fréchet distance of as many images, no part."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.repeats import summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Jobs, Plan, Worker, in_turns
from dmd.diffusion.sampler import sample
from dmd.evaluate.noises import Batch
from dmd.evaluate.scores import score
from dmd.evaluate.summaries import Summary, summarise, summarise_pixels
from dmd.features.feature_net import load_features

RESULTS = Path(__file__).resolve().parent / "results"
COUNT = 50
SETS = 5
"""Disjoint sets of the solver's, for the spread of a score of so few images; of the ancestral, one."""
STEPS = 1000
SCORES = ("fd_lenet", "kid_lenet", "kid_lenet_standard_error", "precision", "recall", "class_accuracy")


def real(shipped: Shipped) -> Summary:
    """Of the real test images."""
    net = load_features(Path("assets") / "lenet")
    return summarise_pixels(net, shipped.real_images("test"), None, 250, torch.device("cpu"))


def scores(shipped: Shipped, images: Tensor) -> dict[str, float]:
    """Of images in [-1, 1] with the classes in turn."""
    batch: Batch = images, shipped.labels(len(images))
    found = score(summarise(load_features(Path("assets") / "lenet"), [batch], len(images)), real(shipped), "lenet", 0)
    return {name: found[name] for name in SCORES}


def ours() -> Jobs:
    """One set of pairs by the system's solver, timed; and the scores of all sets."""
    shipped = Shipped()
    settings, scheduler, labels = shipped.config.pairs, shipped.teacher.scheduler_config, shipped.labels(COUNT)
    solver = settings.solver, settings.num_steps, settings.timestep_spacing

    def draw(seed: int) -> Tensor:
        return sample(shipped.guided, shipped.noise(COUNT, seed), labels, scheduler, *solver).clamp(-1, 1)

    return {
        "pairs": lambda: draw(0) is None,
        "scores": lambda: [scores(shipped, draw(seed)) for seed in range(SETS)],
    }


def theirs() -> Jobs:
    """The same number by `DDPMPipeline`, drawn once, when first asked for."""
    shipped, drawn = Shipped(), []
    pipeline = peers.ancestral(shipped, COUNT, STEPS)

    def draw() -> None:
        drawn.append(torch.from_numpy(pipeline()).permute(0, 3, 1, 2) * 2 - 1)

    return {"ancestral": draw, "scores": lambda: [scores(shipped, drawn[0])]}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds and scores of both; 1000 steps of the ancestral are run once, so their time has no spread."""
    real(Shipped())
    our_side, their_side = Worker(ours, tuned=True), Worker(theirs, tuned=False)
    times, facts = in_turns({"pairs": (our_side, "pairs")}, plan, finally_ask={"scores": (our_side, "scores")})
    with their_side as worker:
        seconds = worker.run("ancestral")[0][plan.clock]
        found = worker.run("scores")[1]
    own = facts["scores"]
    rows = [{"pairs": "the system's solver, mean of sets", **_mean(own)}]
    rows += [{"pairs": "1000 ancestral steps", **found[0]}]
    pd.DataFrame(rows).assign(num_samples=COUNT).to_csv(RESULTS / "ancestral.csv", index=False, float_format="%.4g")
    frechet = [row["fd_lenet"] / found[0]["fd_lenet"] for row in own]
    return {
        "images": COUNT,
        "seconds": {"pairs": summary(times["pairs"]), "ancestral": summary([seconds])},
        "scores": {"pairs": own, "ancestral": found[0]},
        "ratios": {
            "pairs_over_ancestral_whole": summary([seconds / value for value in times["pairs"]]),
            "frechet_pairs_over_ancestral": summary(frechet),
        },
    }


def _mean(sets: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in sets) / len(sets) for name in SCORES}
