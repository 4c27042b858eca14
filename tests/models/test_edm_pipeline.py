"""EDM teachers: read from diffusers' folders, denoised as by its scheduler, saved as its stock pipeline."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DiffusionPipeline,
    EDMEulerScheduler,
    UNet2DModel,
)

from dmd.diffusion.generator import Generator
from dmd.models.compatibility import check_agreement, training_schedule
from dmd.models.pipeline import load_generator, save_generator
from dmd.models.teacher import Teacher
from dmd.runtime.files import load_json
from dmd.teacher.network import build_unet
from dmd.teacher.scheduler import canonical_scheduler

SHAPE, T_STAR, COUNT = (3, 8, 8), 535, 4
WANTED = {
    "prediction_type": "edm",
    "num_train_timesteps": 1000,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "rho": 7.0,
    "sigma_data": 0.5,
    "time_scale": 250.0,
}
SCHEDULERS = {
    "edm": dict(EDMEulerScheduler(sigma_data=0.6).config) | {"_class_name": "EDMEulerScheduler"},
    "consistency": dict(CMStochasticIterativeScheduler(sigma_min=0.0).config)
    | {"_class_name": "CMStochasticIterativeScheduler"},
}


def network(embeds: int | None = None) -> UNet2DModel:
    torch.manual_seed(0)
    return build_unet(SHAPE, embeds, (8, 16), 1, (4,), 4).eval()


def teacher(kind: str = "consistency", embeds: int | None = None) -> Teacher:
    return Teacher(network(embeds), canonical_scheduler(training_schedule(SCHEDULERS[kind])))


def noise() -> torch.Tensor:
    return torch.randn((COUNT, *SHAPE), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_a_scheduler_s_config_gives_the_schedule(kind: str) -> None:
    own = {"edm": {"sigma_data": 0.6, "time_scale": 0.25}, "consistency": {}}[kind]
    found = training_schedule(SCHEDULERS[kind])
    assert found == WANTED | own
    assert training_schedule(canonical_scheduler(found)) == found
    table = teacher(kind).schedule.noise_to_signal()
    assert (table[0].item(), table[-1].item()) == pytest.approx((0.002, 80.0))


@pytest.mark.maths
@pytest.mark.parametrize("t", [0, 300, 535, 999])
def test_the_denoiser_is_diffusers_preconditioning(t: int) -> None:
    """The network's input, time and output, each as `EDMEulerScheduler` makes them at the same sigma."""
    given = teacher("edm")
    t_all = torch.full((COUNT,), t)
    sigma = given.schedule.sigma(torch.tensor([t]))
    scheduler = EDMEulerScheduler(sigma_data=0.6)
    x_t = noise() * sigma.float()
    with torch.no_grad():
        output = given.backbone(
            scheduler.precondition_inputs(x_t, sigma.float()), scheduler.precondition_noise(sigma)
        ).sample
        expected = scheduler.precondition_outputs(x_t, output, sigma.float())
        torch.testing.assert_close(given.denoiser(x_t, t_all), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("embeds", [None, 11])
def test_the_stock_pipeline_draws_the_generators_images(kind: str, embeds: int | None, tmp_path: Path) -> None:
    given = teacher(kind, embeds)
    labels = None if embeds is None else torch.tensor([3, 1, 4, 9])
    save_generator(tmp_path, given.backbone, given.scheduler_config, T_STAR, None if embeds is None else 10)
    with torch.no_grad():
        expected = Generator(given.denoiser, T_STAR)(noise(), labels)
        loaded = load_generator(tmp_path)(noise(), labels)
    torch.testing.assert_close(loaded, expected, rtol=0, atol=1e-6)
    assert expected.std() > 0.1
    shown = (expected / 2 + 0.5).clamp(0, 1)
    for loader in (DiffusionPipeline, ConsistencyModelPipeline):
        pipeline = loader.from_pretrained(tmp_path)
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline(
            batch_size=COUNT,
            class_labels=None if labels is None else labels.tolist(),
            generator=torch.Generator().manual_seed(1),
            output_type="pt",
        ).images
        assert type(pipeline) is ConsistencyModelPipeline
        torch.testing.assert_close(drawn, shown, rtol=0, atol=1e-6)
    assert load_json(tmp_path / "model_index.json")["_class_name"] == "ConsistencyModelPipeline"


def test_a_network_saved_for_another_time_scale_is_left_alone(tmp_path: Path) -> None:
    given = teacher("edm")
    before = {name: value.clone() for name, value in given.backbone.state_dict().items()}
    save_generator(tmp_path, given.backbone, given.scheduler_config, T_STAR)
    assert all(torch.equal(value, before[name]) for name, value in given.backbone.state_dict().items())


@pytest.mark.parametrize("timesteps", [-1, 1000, [535, 200]])
def test_other_timesteps_are_refused(timesteps: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"generator_timesteps .* has one, inside the schedule: 0 … 999"):
        save_generator(tmp_path, network(), teacher().scheduler_config, timesteps)


def test_a_teacher_comes_back_as_it_went(tmp_path: Path) -> None:
    given = teacher("edm")
    given.save(tmp_path)
    loaded, t = Teacher.load(tmp_path), torch.tensor([0, 300, 600, 999])
    with torch.no_grad():
        assert torch.equal(loaded.denoiser(noise(), t), given.denoiser(noise(), t))


def agree(scheduler: dict[str, Any], wanted: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    config = {"_class_name": "UNet2DModel", "in_channels": 3, "out_channels": 3, "sample_size": 8} | changes
    return check_agreement({"num_class_embeds": None, **config}, scheduler, wanted, SHAPE, None)


def test_the_params_lay_out_the_levels_of_a_network_that_is_told_them() -> None:
    asked = WANTED | {"num_train_timesteps": 100, "sigma_max": 20.0, "rho": 5.0, "sigma_min": 0.01}
    assert agree(SCHEDULERS["consistency"], asked) == asked
    assert agree(SCHEDULERS["consistency"], None) == WANTED


BETAS = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
}


@pytest.mark.parametrize(
    ("scheduler", "wanted", "changes", "parts"),
    [
        (SCHEDULERS["edm"], WANTED, {}, ["teacher.schedule.sigma_data is 0.5", "0.6"]),
        (SCHEDULERS["edm"], WANTED | {"sigma_data": 0.6}, {}, ["teacher.schedule.time_scale is 250.0", "0.25"]),
        (SCHEDULERS["edm"], BETAS, {}, ["teacher.schedule.prediction_type is 'epsilon'", "'edm'"]),
        (BETAS, WANTED, {}, ["teacher.schedule.prediction_type is 'edm'", "'epsilon'"]),
        (SCHEDULERS["edm"] | {"prediction_type": "v_prediction"}, None, {}, ["'v_prediction'", "name another"]),
        (
            SCHEDULERS["consistency"] | {"sigma_min": 0.002},
            None,
            {},
            [
                "a consistency model's",
                "set teacher.source to the EDM model that it was distilled from",
                "sigma_min to 0",
            ],
        ),
        (SCHEDULERS["edm"] | {"sigma_max": "80 m"}, None, {}, ["sigma_max is '80 m'", "number", "set teacher.source"]),
        (SCHEDULERS["edm"] | {"rho": 0.001}, None, {}, ["rho is 0.001", "greater than or equal to 1"]),
        (SCHEDULERS["edm"] | {"rho": True}, None, {}, ["scheduler_config.json: rho is True", "must not be a boolean"]),
        (SCHEDULERS["consistency"] | {"sigma_min": "0"}, None, {}, ["a consistency model's"]),
        (SCHEDULERS["edm"], None, {"time_embedding_type": "fourier"}, ["fourier", "set teacher.source"]),
        (
            SCHEDULERS["edm"],
            None,
            {"time_embedding_type": "learned", "num_train_timesteps": 1000},
            ["looks its times up", "time_embedding_type positional"],
        ),
        (SCHEDULERS["edm"], None, {"_class_name": "CelebAUNet"}, ["looks its times up", "set teacher.source"]),
    ],
)
def test_what_does_not_fit_is_refused_with_both_values(
    scheduler: dict[str, Any], wanted: Any, changes: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(ValueError, match="teacher") as error:
        agree(scheduler, wanted, **changes)
    assert all(part in str(error.value) for part in parts), error.value
