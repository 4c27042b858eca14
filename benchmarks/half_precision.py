"""The frozen real score in bfloat16: what it saves, what it costs, and what it does to the gradient at the images."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Job, Jobs, Plan, Worker, in_turns
from dmd.diffusion.denoiser import BaseDenoiser, Denoiser
from dmd.diffusion.guidance import with_guidance
from dmd.distill.distiller import Distiller

RESULTS = Path(__file__).resolve().parent / "results"
BATCH = 16
STEPS = (0, 10, 100)
"""Iterations before the gradient is looked at; at 0 both scores are the teacher, and it is that of guidance alone."""


class Half(nn.Module):
    """A backbone with weights and inputs in bfloat16; what it gives is float32."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).to(torch.bfloat16)
        self.config = backbone.config

    def forward(self, x: Tensor, t: Tensor, **arguments: Any) -> tuple[Tensor]:
        """The backbone's output as a tuple, whatever `return_dict` says."""
        arguments["return_dict"] = False
        return (self.backbone(x.to(torch.bfloat16), t, **arguments)[0].float(),)


def jobs() -> Jobs:
    """A pass of the guided real score in either precision, and the gradients as the distillation goes on."""
    shipped = Shipped()
    distiller = shipped.distiller(shipped.write_pairs(100), batch_size=BATCH, pairs_batch_size=BATCH)
    teacher, scale = shipped.teacher.denoiser, shipped.config.guidance_scale
    half = Denoiser(Half(teacher.backbone), teacher.schedule, teacher.prediction_type)
    scores: dict[str, BaseDenoiser] = {
        "float32": distiller.mu_real,
        "bfloat16": with_guidance(half, scale, shipped.classes),
    }
    z, t, labels = shipped.noise(BATCH), torch.full((BATCH,), 600), shipped.labels(BATCH)

    def passes(name: str) -> Job:
        def run() -> None:
            with torch.no_grad():
                scores[name](z, t, labels)

        return run

    timed: dict[str, Job] = {name: passes(name) for name in scores}
    return {**timed, "bytes": partial(weight_bytes, scores), "gradients": partial(gradients, distiller, scores)}


def weight_bytes(scores: dict[str, BaseDenoiser]) -> dict[str, int]:
    """Of each score's network."""
    return {name: sum(p.numel() * p.element_size() for p in score.parameters()) for name, score in scores.items()}


def gradients(distiller: Distiller, scores: dict[str, BaseDenoiser]) -> list[dict[str, float]]:
    """After each of `STEPS` iterations: the mean |g| with either real score, and the difference's norm over g's."""
    rows, done = [], 0
    for stop in STEPS:
        for step in range(done, stop):
            distiller.step(step)
        batch, found = distiller.batch(stop), {}
        with torch.no_grad():
            x = distiller.student.generator(batch["z"], batch.get("labels"))
        for name, score in scores.items():
            distiller.scores = distiller.critics.scores(score)
            found[name] = distiller.image_terms(x, batch)["distribution_matching"][1] * x.numel()
        distiller.scores = distiller.critics.scores(scores["float32"])
        done = stop
        norm = found["float32"].norm().item()
        row = {"iterations": stop} | {f"mean_{name}": g.abs().mean().item() for name, g in found.items()}
        error = (found["bfloat16"] - found["float32"]).norm().item()
        rows.append(row | {"relative_difference": error / norm if norm else float("nan")})
    return rows


def measure(plan: Plan) -> dict[str, Any]:
    """Bytes of the real score's weights, seconds of its pass, and the gradients."""
    worker = Worker(jobs, tuned=True)
    sides = {name: (worker, name) for name in ("float32", "bfloat16")}
    times, facts = in_turns(sides, plan, finally_ask={name: (worker, name) for name in ("bytes", "gradients")})
    pd.DataFrame(facts["gradients"]).to_csv(RESULTS / "half_precision.csv", index=False, float_format="%.3g")
    rows = [{name: None if value != value else value for name, value in row.items()} for row in facts["gradients"]]
    return {
        "batch": BATCH,
        "weight_bytes": facts["bytes"],
        "gradients": rows,
        "seconds": {name: summary(values) for name, values in times.items()},
        "ratios": {"real_score_bfloat16_over_float32": ratio(times["bfloat16"], times["float32"])},
    }
