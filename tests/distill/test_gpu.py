"""On a CUDA device: what the CPU computes, to tolerance."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.guidance import GuidedDenoiser
from dmd.diffusion.sampler import sample
from dmd.diffusion.schedule import NoiseSchedule
from dmd.teacher.network import build_unet
from tests.distill.test_distiller import build, pairs, teacher  # noqa: F401  (fixtures)

SCHEDULER = {"num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 2e-2}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The device for accelerate, which other tests keep on the CPU; convolutions are in float32, not TensorFloat-32."""
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64))
    return Denoiser(build_unet((1, 8, 8), 5, (4, 8), 1, (4,), 2), schedule, "epsilon").eval()


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@torch.no_grad()
def test_sampler_and_generator_agree_with_the_cpu(denoiser: Denoiser) -> None:
    z, labels = torch.randn(4, 1, 8, 8), torch.arange(4)
    guided = GuidedDenoiser(denoiser, 1.5, 4)
    expected = sample(guided, z, labels, SCHEDULER, "ddim", 10, "trailing"), Generator(denoiser, 500)(z, labels)
    guided.cuda()
    found = (
        sample(guided, z.cuda(), labels.cuda(), SCHEDULER, "ddim", 10, "trailing"),
        Generator(denoiser, 500)(z.cuda(), labels.cuda()),
    )
    denoiser.cpu()
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other.cpu(), one, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_a_distillation_step_runs_and_resumes(teacher: Denoiser, pairs: object, tmp_path: Path) -> None:  # noqa: F811
    distiller = build(teacher, pairs)
    assert distiller.accelerator.device.type == "cuda"
    record = distiller.step(0)
    assert record["distribution_matching"] == 0
    distiller.state.save(tmp_path, 1, None)
    again = build(teacher, pairs)
    assert again.state.resume(tmp_path) == (1, None)
    resumed = again.step(1)
    for name, value in distiller.step(1).items():
        torch.testing.assert_close(resumed[name], value, atol=1e-4, rtol=1e-3)
