"""An EDM teacher from a diffusers folder: fetch, teacher, pairs, a step of distillation, the generator.

The truth of the pairs is diffusers' own `EDMEulerScheduler` on the original folder, without a line of this project.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, EDMEulerScheduler, UNet2DModel
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.models.pipeline import load_generator
from dmd.params.config import load_config
from stages import distill, fetch, pairs, teacher
from tests.stages.test_fetch import params, root
from tests.stages.test_hub_teachers import write

__all__ = ["root"]  # a fixture

STEPS, LEVELS = 4, 10  # three gaps of three levels: both ends, and nothing between two levels
BASE = {
    "dataset__num_classes": None,
    "teacher__source": "given",
    "pairs__count": 4,
    "pairs__batch_size": 3,
    "pairs__solver": "euler",
    "pairs__timestep_spacing": "linspace",
    "pairs__num_steps": STEPS,
    "evaluate__solver": "heun",
    "evaluate__num_steps": STEPS,
    "distill__generator_timesteps": [5],
    "distill__batch_size": 2,
    "distill__pairs_batch_size": 2,
    "distill__steps": 1,
    "distill__history_epochs": 1,
}
EDM = {"prediction_type": "edm", "num_train_timesteps": LEVELS}
SCHEDULERS = {
    "edm": (EDMEulerScheduler(sigma_data=0.6), EDM | {"sigma_data": 0.6, "time_scale": 0.25}),
    "consistency": (CMStochasticIterativeScheduler(sigma_min=0.0), EDM),
}


@torch.no_grad()
def euler(backbone: UNet2DModel, sigma_data: float, time_scale: float, z: Tensor, labels: Tensor | None) -> Tensor:
    """Four steps of diffusers' scheduler, from noise of its greatest sigma."""
    solver = EDMEulerScheduler(sigma_data=sigma_data)
    solver.set_timesteps(STEPS)
    x = solver.config.sigma_max * z
    for t in solver.timesteps:
        output = backbone(solver.scale_model_input(x, t), 4 * time_scale * t, class_labels=labels).sample
        x = solver.step(output, t, x).prev_sample
    return x


@pytest.mark.parametrize("embeds", [None, 11])
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_folder_is_distilled(root: Path, kind: str, embeds: int | None) -> None:
    scheduler, schedule = SCHEDULERS[kind]
    described = {**scheduler.config, "_class_name": type(scheduler).__name__}
    backbone = write(root / "given", ("unet/", "scheduler/"), described, embeds=embeds)
    changes: dict[str, Any] = {"dataset__num_classes": embeds and 10, "teacher__schedule": schedule}
    config = load_config(params(root, **{**BASE, **changes}))
    for stage in (fetch, teacher, pairs):
        stage.main(config)
    found = PairStore(root / "data" / config.system / "pairs").read(range(4))
    labels = found["label"] if embeds else None
    expected = euler(backbone, schedule.get("sigma_data", 0.5), schedule.get("time_scale", 250.0), found["z"], labels)
    torch.testing.assert_close(found["x0"], expected, rtol=0, atol=1e-3 * float(expected.abs().max()))

    record = distill.prepare(config).distiller.step(0)
    assert record["distribution_matching"] == 0
    assert record["regression"] > 0
    assert record["fake"] > 0

    distill.main(config)
    folder = root / "models" / config.system / "generator"
    pipeline = ConsistencyModelPipeline.from_pretrained(folder)
    labels = [3, 1, 4, 1] if embeds else None
    drawn = pipeline(4, labels, generator=torch.Generator().manual_seed(0), output_type="pt").images
    z = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = load_generator(folder)(z, None if labels is None else torch.tensor(labels))
    torch.testing.assert_close(drawn, (images / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-6)


def test_several_steps_are_refused_at_the_start(root: Path) -> None:
    with pytest.raises(ValueError, match=r"generator_timesteps \[5, 2\].*one step; give one timestep"):
        load_config(params(root, **{**BASE, "distill__generator_timesteps": [5, 2], "teacher__schedule": EDM}))


def test_a_solver_for_betas_is_refused_before_any_work_where_the_checkpoint_brings_the_schedule(root: Path) -> None:
    described = {**SCHEDULERS["edm"][0].config, "_class_name": "EDMEulerScheduler"}
    write(root / "given", ("unet/", "scheduler/"), described)
    config = load_config(
        params(
            root, **{**BASE, "teacher__schedule": None, "pairs__solver": "ddim", "pairs__timestep_spacing": "trailing"}
        )
    )
    with pytest.raises(ValueError, match=r"pairs.solver ddim is for a schedule of betas.*take euler or heun"):
        fetch.main(config)
