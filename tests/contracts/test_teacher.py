"""A teacher on disk is a flat diffusers folder, and is held against the params."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from dmd.backbones import build_unet
from dmd.checkpoint import load_json, save_json
from dmd.teacher import Teacher, check_teacher

SCHEDULE = {
    "num_train_timesteps": 400,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
}
SHAPE = (1, 8, 8)


def teacher(embeds: int | None = 5, **changes: Any) -> Teacher:
    torch.manual_seed(0)
    config = {"_class_name": "DDPMScheduler", **SCHEDULE, "clip_sample": False, **changes}
    return Teacher(build_unet(SHAPE, embeds, (4, 8), 1, (), 2), config)


def test_a_teacher_comes_back_as_it_went(tmp_path: Path) -> None:
    saved = teacher()
    saved.save(tmp_path)
    loaded = Teacher.load(tmp_path)
    assert not loaded.backbone.training
    expected = saved.backbone.state_dict()
    assert loaded.backbone.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.backbone.state_dict().items())
    assert loaded.scheduler_config == {**SCHEDULE, "clip_sample": False}
    x_t, t, labels = torch.randn(2, *SHAPE), torch.tensor([3, 399]), torch.tensor([0, 4])
    with torch.no_grad():
        found, wanted = loaded.denoiser(x_t, t, labels), teacher().denoiser
        wanted.eval()
        torch.testing.assert_close(found, wanted(x_t, t, labels))


def test_diffusers_reads_the_folder(tmp_path: Path) -> None:
    teacher().save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
    ]
    UNet2DModel.from_pretrained(tmp_path, use_safetensors=True)
    scheduler = DDPMScheduler.from_pretrained(tmp_path)
    assert scheduler.config.num_train_timesteps == 400
    schedule, last = Teacher.load(tmp_path).schedule, torch.tensor([399])
    assert schedule.num_timesteps == 400
    assert schedule.alpha(last).item() ** 2 == pytest.approx(scheduler.alphas_cumprod[-1].item(), rel=1e-4)


def test_the_denoiser_shares_the_teachers_weights_and_meaning() -> None:
    given = teacher(prediction_type="v_prediction")
    denoiser = given.denoiser
    assert denoiser.backbone is given.backbone
    assert denoiser.prediction_type == "v_prediction"


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    given = teacher()
    given.save(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(given.backbone.state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Teacher.load(tmp_path)


@pytest.mark.parametrize(("embeds", "classes"), [(None, None), (4, 4), (5, 4)])
def test_a_fitting_teacher_passes(embeds: int | None, classes: int | None) -> None:
    check_teacher(teacher(embeds), SCHEDULE, SHAPE, classes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_train_timesteps", 1000),
        ("beta_schedule", "scaled_linear"),
        ("beta_start", 2e-4),
        ("beta_end", 1e-2),
        ("prediction_type", "sample"),
    ],
)
def test_another_schedule_is_refused_with_both_values(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"teacher.schedule.{key}") as error:
        check_teacher(teacher(), {**SCHEDULE, key: value}, SHAPE, 4)
    assert repr(value) in str(error.value)
    assert repr(SCHEDULE[key]) in str(error.value)
    assert "correct the params" in str(error.value)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28), (1, 8, 16)])
def test_another_image_shape_is_refused_with_both(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"dataset\.image_shape") as error:
        check_teacher(teacher(), SCHEDULE, shape, 4)
    assert str(shape) in str(error.value)
    assert str(SHAPE) in str(error.value)


@pytest.mark.parametrize(("embeds", "classes"), [(None, 4), (5, None), (5, 10), (5, 3)])
def test_other_classes_are_refused(embeds: int | None, classes: int | None) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.num_classes is {classes}, .* {embeds} class embeddings"):
        check_teacher(teacher(embeds), SCHEDULE, SHAPE, classes)


def test_a_scheduler_config_that_says_nothing_is_refused(tmp_path: Path) -> None:
    teacher().save(tmp_path)
    config = load_json(tmp_path / "scheduler_config.json")
    del config["prediction_type"]
    save_json(tmp_path / "scheduler_config.json", config)
    with pytest.raises(ValueError, match=r"teacher\.schedule\.prediction_type is 'epsilon', .* None"):
        check_teacher(Teacher.load(tmp_path), SCHEDULE, SHAPE, 4)
