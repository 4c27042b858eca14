"""A teacher on disk is a flat diffusers folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel

from dmd.models.teacher import Teacher
from dmd.teacher.network import build_unet

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
