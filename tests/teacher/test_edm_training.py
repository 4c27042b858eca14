"""An EDM teacher is trained by the error of its network's output."""

import pytest
import torch

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.rng import Stream, sample_noise
from dmd.diffusion.schedule import NoiseSchedule
from dmd.teacher.network import build_unet
from dmd.teacher.trainer import TeacherTrainer
from tests.teacher.test_trainer import LABELS, PIXELS, SETTINGS, Recorder

pytestmark = pytest.mark.maths


def test_the_loss_is_the_plain_error_of_the_output() -> None:
    """Karras et al. 2022, eq. 8: with lambda = 1 / c_out², the mean squared error of F, here from its own sigma."""
    torch.manual_seed(0)
    schedule = NoiseSchedule.from_karras(1000, 0.002, 80.0, 7.0, time_scale=250.0)
    denoiser = Denoiser(build_unet((1, 8, 8), 5, (4, 8), 1, (), 2), schedule, "edm")
    settings = SETTINGS.model_copy(update={"batch_size": 64, "max_snr": None})
    run = TeacherTrainer(denoiser, PIXELS, LABELS, settings, 0)
    recorder = Recorder(run)
    loss = run.update(0).item()
    call = recorder.calls[0]
    sigma = (call["t"] / 250).exp()[:, None, None, None]
    root = (sigma**2 + 0.25).sqrt()
    x_t = call["x_t"].double() * root
    x0 = x_t - sigma * sample_noise(0, range(64), (1, 8, 8), Stream.TEACHER_NOISE).double()
    target = (x0 - 0.25 / root**2 * x_t) * root / (0.5 * sigma)
    assert loss == pytest.approx((call["output"].double() - target).square().mean().item(), rel=1e-3)
