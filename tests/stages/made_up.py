"""A made-up run: every file that the report reads, small, and with values that a test can tell apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dmd.runtime.files import save_json, save_tensors

STEPS = 40


def scores(labels: bool = True) -> dict[str, Any]:
    """Scores by the schema of metrics.json, three sets a model."""

    def model(distance: float, nfe: int, seconds: float) -> dict[str, Any]:
        values = {"fd_lenet": distance, "fd_lenet_std": distance / 100, "kid_lenet": distance / 1000}
        sizes = {"nfe": nfe, "seconds_per_image": seconds, "num_samples": 10000, "num_sets": 3}
        return values | sizes | ({"class_accuracy": 0.98, "class_accuracy_std": 0.001} if labels else {})

    times = {"one_seconds": 0.02, "batch_seconds": 0.64, "batch_size": 64, "peak_memory_mib": 512.5}
    return {
        "teacher": model(5.123456789, 20, 0.02),
        "student_before": model(900.5, 1, 0.001),
        "student": model(7.987654321, 1, 0.001) | {"fd_to_teacher": 2.5},
        "data": {"test": {"fd_lenet": 1.7, "num_samples": 10000} | ({"class_accuracy": 0.99} if labels else {})},
        "latency": dict.fromkeys(("teacher", "student_before", "student"), times),
        "speed": {"teacher_over_student_seconds": 20.0},
        "run": {"features": "lenet", "num_samples": 10000, "teacher": "0123abcd"},
    }


def losses(steps: int = STEPS) -> pd.DataFrame:
    """Losses that fall."""
    step = np.arange(1, steps + 1)
    return pd.DataFrame(
        {"step": step, "distribution_matching": 1 / step, "regression": 0.1 + 1 / step**2, "fake": 0.3 + 0 * step}
    )


def health(steps: int = STEPS) -> pd.DataFrame:
    """A run without trouble."""
    step = np.arange(0, steps, 4)
    names = ("mean_difference", "deviation_difference", "clipped_generator", "clipped_fake")
    norms = {"grad_norm_distribution_matching": 0.01 * (step > 0), "grad_norm_regression": 0.02 / (1 + step)}
    return pd.DataFrame({"step": step, **norms, **dict.fromkeys(names, 0.0), "variety": 0.9 + step / 1000})


def draw_blobs(count: int, seed: int, shape: tuple[int, int, int]) -> Tensor:
    """A bright spot each, in another place: [count, C, H, W] in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    y, x = (torch.arange(size).float() for size in shape[1:])
    centre = 6 + 16 * torch.rand(count, 2, 1, 1, generator=generator)
    spot = torch.exp(-((y[:, None] - centre[:, 0]) ** 2 + (x[None] - centre[:, 1]) ** 2) / 18)
    return (2 * spot - 1)[:, None].expand(-1, shape[0], -1, -1).contiguous()


def write_system(root: Path, labels: bool = True, system: str = "mnist-small") -> Path:
    """Write `data/<system>/{evaluation,training}` and the teacher's table below `root`; returns the evaluation.

    Grey digits' shape with labels, colour without.
    """
    data, tables = root / "data" / system, root / "docs" / "results" / "data" / "tables" / system
    evaluation, training = data / "evaluation", data / "training"
    for folder in (evaluation, training, tables):
        folder.mkdir(parents=True)
    classes = (lambda count: torch.arange(count) % 10) if labels else (lambda count: torch.full((count,), -1))
    shape = (1, 28, 28) if labels else (3, 32, 32)

    def blobs(count: int, seed: int) -> Tensor:
        return draw_blobs(count, seed, shape)

    save_json(evaluation / "scores.json", scores(labels))
    names = ("teacher", "student_before", "student", "z")
    images = {name: blobs(200, seed) for seed, name in enumerate(names)} | {"label": classes(200)}
    save_tensors(evaluation / "samples.safetensors", images)
    near = {"student": blobs(8, 4), "nearest": blobs(8, 5), "distance": torch.rand(8), "label": classes(8)}
    save_tensors(evaluation / "neighbours.safetensors", near)
    worst = {"student": blobs(6, 6), "distance": torch.arange(6, 0, -1.0), "index": torch.arange(6) * 37}
    save_tensors(evaluation / "worst.safetensors", worst | {"label": classes(6)})
    rows = [
        {"label": label, "model": name, "count": 1000, "class_accuracy": 0.9 + label / 1000}
        for label in range(10 if labels else 0)
        for name in ("teacher", "student_before", "student", "test")
    ]
    columns = ["label", "model", "count", "class_accuracy", "mistaken_for", "mistaken_share"]
    pd.DataFrame(rows, columns=columns).to_csv(evaluation / "per_class.csv", index=False)
    losses().to_csv(training / "losses.csv", index=False)
    health().to_csv(training / "health.csv", index=False)
    history = {f"images_step_{step:05d}": blobs(20, 10 + step) for step in range(0, STEPS + 1, 4)}
    fixed = {"z": images["z"][:20], "label": classes(20), "x0_pair": images["teacher"][:20]}
    save_tensors(training / "history.safetensors", history | fixed)
    save_json(training / "training.json", {"steps": STEPS, "parameters": 712345})
    steps = {"guidance_scale": 1.5, "solver": "ddim", "num_steps": [10, 20], "nfe": [10, 20], "fd_lenet": [9.0, 6.0]}
    table = pd.DataFrame(steps | {"rmse_to_exact": [0.1, 0.06], "seconds_per_image": [0.01, 0.02], "num_samples": 2000})
    table.to_csv(tables / "teacher_steps.csv", index=False)
    timesteps = {"generator_timestep": [500, 600], "fd_lenet": [321.25, 287.5], "num_samples": 2000}
    pd.DataFrame(timesteps).to_csv(tables / "generator_timesteps.csv", index=False)
    return evaluation
