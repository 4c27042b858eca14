"""A generator of several steps: its rollout, its noise, and the distribution of its images."""

import pytest
import torch
from torch import Tensor

from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule, scale
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser
from tests.diffusion.test_generator import SCHEDULE, Recorded

pytestmark = pytest.mark.maths

TIMES = [90, 60, 30, 10]
LABELS = torch.tensor([0, 1, 1, 0, 1])


def noise(count: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))


def by_hand(denoiser: BaseDenoiser, z: Tensor, eps: list[Tensor], labels: Tensor | None) -> list[Tensor]:
    """The images of each step: x_k = D(alpha x_{k-1} + sigma eps, t_k)."""
    found = [denoiser(z, torch.full((len(z),), TIMES[0]), labels)]
    for timestep, fresh in zip(TIMES[1:], eps, strict=True):
        t = torch.full((len(z),), timestep)
        x_t = scale(found[-1], SCHEDULE.alpha(t)) + scale(fresh, SCHEDULE.sigma(t))
        found.append(denoiser(x_t, t, labels))
    return found


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_list_of_one_timestep_is_that_timestep_to_the_bit(labels: Tensor | None) -> None:
    z = noise()
    one = Generator(Recorded(), [60])
    assert torch.equal(one(z, labels), Recorded()(z, torch.full((5,), 60), labels))
    assert one.nfe == 1
    assert one.draw_noises(z) == []


@pytest.mark.parametrize("labels", [None, LABELS])
def test_the_steps_are_those_written_by_hand(labels: Tensor | None) -> None:
    z, eps = noise(), [noise(seed=seed) for seed in (1, 2, 3)]
    expected = by_hand(Recorded().denoiser, z, eps, labels)
    recorded = Recorded()
    generator = Generator(recorded, TIMES)
    assert torch.equal(generator(z, labels, eps), expected[-1])
    assert [int(t[0]) for _, t, _ in recorded.calls] == TIMES
    assert generator.nfe == 4


@pytest.mark.parametrize("step", range(4))
def test_the_rollout_to_a_step_is_the_start_of_the_whole(step: int) -> None:
    z, eps = noise(), [noise(seed=seed) for seed in (1, 2, 3)]
    recorded, whole = Recorded(), Recorded()
    Generator(whole, TIMES)(z, LABELS, eps)
    x_t, t = Generator(recorded, TIMES).rollout(z, LABELS, eps, step)
    assert len(recorded.calls) == step
    assert torch.equal(t, torch.full((5,), TIMES[step]))
    for (x_one, t_one, _), (x_other, t_other, _) in zip(recorded.calls, whole.calls, strict=False):
        assert torch.equal(x_one, x_other)
        assert torch.equal(t_one, t_other)
    assert torch.equal(x_t, whole.calls[step][0])


def test_no_gradient_goes_through_the_rollout() -> None:
    class Gain(BaseDenoiser):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.schedule = torch.nn.Parameter(torch.tensor(2.0)), SCHEDULE

        def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            return self.gain * x_t

    generator, z, eps = Generator(Gain(), TIMES), torch.ones(2, 1, 2, 2), [noise(2, seed) for seed in (1, 2, 3)]
    x_t, _ = generator.rollout(z, None, eps, 3)
    generator(z, None, eps).sum().backward()
    assert not x_t.requires_grad
    torch.testing.assert_close(next(generator.parameters()).grad, x_t.sum())


def test_noise_is_a_function_of_each_samples_own() -> None:
    """Neither the batch's size nor its order changes an image; no two samples and no two steps share a noise."""
    z, generator = noise(6), Generator(Recorded(), TIMES)
    whole, drawn = generator(z), torch.stack(generator.draw_noises(z))
    for rows in ([3], [5, 0], [4, 2, 1]):
        assert torch.equal(generator(z[rows]), whole[rows])
        assert torch.equal(torch.stack(generator.draw_noises(z[rows])), drawn[:, rows])
    flat = drawn.flatten(0, 1).flatten(1)
    assert len(flat.unique(dim=0)) == 18
    assert not torch.equal(generator(z + 1e-6), whole)


@pytest.mark.parametrize("timesteps", [[60, 60], [10, 60], [90, 30, 60]])
def test_timesteps_that_do_not_fall_are_refused(timesteps: list[int]) -> None:
    with pytest.raises(ValueError, match=r"generator_timesteps \[.*\] do not fall; sort them from noise to image"):
        Generator(Recorded(), timesteps)


@pytest.mark.parametrize("timesteps", [[], [100, 50], [50, -1]])
def test_timesteps_outside_the_schedule_are_refused(timesteps: list[int]) -> None:
    with pytest.raises(ValueError, match=r"generator_timesteps \[.*\]: there is none, or one outside .*: 0 … 99"):
        Generator(Recorded(), timesteps)


@pytest.mark.parametrize("timesteps", [[150, 50], [199, 120, 70, 30]])
def test_exact_denoisers_of_gaussian_data_give_the_closed_forms_images(timesteps: list[int]) -> None:
    """x_1 = D(z, t_1) is N(m_1, s_1²); each later step maps N(m_k, s_k²) to the moments of an affine map.

    D(x_t, t) = m + k (x_t - alpha m) with k = alpha s² / (alpha² s² + sigma²): so m_{k+1} = m + k alpha (m_k - m) and
    s_{k+1}² = k² (alpha² s_k² + sigma²). More steps, each from less noise, bring the deviation to the data's.
    """
    mean, std, count = 0.3, 0.4, 20_000
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.08, 200, dtype=torch.float64))
    denoiser = GaussianMixtureDenoiser(torch.full((1, 1, 2, 2), mean), torch.tensor([std]), torch.ones(1), schedule)
    first = torch.tensor(timesteps[:1])
    start = -schedule.alpha(first).item() * mean  # of z - alpha m, whose deviation is one
    alpha, sigma = schedule.alpha(first).item(), schedule.sigma(first).item()
    gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
    m, s = mean + gain * start, gain
    for timestep in timesteps[1:]:
        at = torch.tensor([timestep])
        alpha, sigma = schedule.alpha(at).item(), schedule.sigma(at).item()
        gain = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        m, s = mean + gain * alpha * (m - mean), gain * (alpha**2 * s**2 + sigma**2) ** 0.5
    z = torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    eps = [torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(k)) for k in range(1, len(timesteps))]
    drawn = Generator(denoiser, timesteps)(z, None, eps)
    error = s / (4 * count) ** 0.5
    assert drawn.mean().item() == pytest.approx(m, abs=4 * error)
    assert drawn.std().item() == pytest.approx(s, abs=4 * error)


def test_a_last_step_from_little_noise_keeps_the_datas_mean_and_deviation() -> None:
    """With the exact student of the first step, every later exact step from little noise keeps the distribution.

    s_{k+1} / s differs from one by sigma² / (2 alpha² s²) at most.
    """
    mean, std, count = 0.3, 0.4, 20_000
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-6, 0.08, 200, dtype=torch.float64))

    class Student(GaussianMixtureDenoiser):
        """The first call is the data's own affine map of z; the later ones denoise exactly."""

        def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            return mean + std * x_t if int(t[0]) == 199 else super().forward(x_t, t, labels)

    student = Student(torch.full((1, 1, 2, 2), mean), torch.tensor([std]), torch.ones(1), schedule)
    drawn = Generator(student, [199, 3, 1])(noise(count))
    error = std / (4 * count) ** 0.5
    assert drawn.mean().item() == pytest.approx(mean, abs=4 * error)
    assert drawn.std().item() == pytest.approx(std, abs=4 * error + 0.01)
