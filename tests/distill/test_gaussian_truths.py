"""Gaussian data, exact scores, an affine generator: by every matching loss it lands on the mean and deviation."""

import math

import pytest
import torch
from torch import Tensor, nn

from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.distill.losses import DIVERGENCES, MAX_LOGIT, surrogate_loss
from dmd.distill.matching import METHODS, Noised, Scores, adversarial
from dmd.params.matching import Matching
from tests.diffusion.gaussian_mixture import GaussianMixtureDenoiser

pytestmark = pytest.mark.maths

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64))
NOISE = (0.05, 10.0)
MEAN, STD = 0.3, 0.4
SHAPE = (1, 2, 2)
REAL = GaussianMixtureDenoiser(torch.full((1, *SHAPE), MEAN), torch.tensor([STD]), torch.ones(1), SCHEDULE)


class Affine(nn.Module):
    """x = a z + b, and the exact denoiser and log-density of its own images under noise."""

    def __init__(self, a: float = 0.9, b: float = -0.2) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(b))

    def forward(self, z: Tensor) -> Tensor:
        return self.a * z + self.b

    def fake(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        a, b = self.a.detach(), self.b.detach()
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        gain = alpha * a**2 / (alpha**2 * a**2 + sigma**2)
        return b + scale(x_t - scale(torch.ones_like(x_t) * b, alpha), gain)

    def logits(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """log p_real(x_t) - log p_fake(x_t)."""
        real, fake = (log_density(x_t, t, m, s) for m, s in ((MEAN, STD), (self.b.item(), abs(self.a.item()))))
        return real - fake


def log_density(x_t: Tensor, t: Tensor, mean: float, std: float) -> Tensor:
    alpha, sigma = SCHEDULE.alpha(t).float(), SCHEDULE.sigma(t).float()
    variance = alpha**2 * std**2 + sigma**2
    squares = (x_t - scale(torch.full_like(x_t, mean), alpha)).square().flatten(1).sum(1)
    return -squares / (2 * variance) - 0.5 * x_t[0].numel() * variance.log()


def draw(generator: Affine, size: int) -> tuple[Tensor, Noised]:
    x = generator(torch.randn(size, *SHAPE))
    times = SCHEDULE.timesteps_between(*NOISE)
    t = torch.randint(times.start, times.stop, (size,))
    return x, Noised(x.detach(), t, torch.randn(size, *SHAPE), None, SCHEDULE)


@pytest.mark.parametrize(("loss", "divergence"), [*(("dmd", name) for name in DIVERGENCES), ("sid", "reverse_kl")])
def test_an_affine_generator_lands_on_the_data(loss: str, divergence: str) -> None:
    torch.manual_seed(0)
    settings = Matching(loss=loss, noise=NOISE, divergence=divergence)
    generator, steps = Affine(), 500
    optimizer = torch.optim.Adam(generator.parameters(), lr=0.03)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    scores = Scores(REAL, generator.fake, generator.logits)
    for _ in range(steps):
        x, noised = draw(generator, 64)
        surrogate_loss(x, METHODS[loss](scores, noised, settings)[1]).backward()
        optimizer.step()
        decay.step()
        optimizer.zero_grad()
    assert math.isclose(generator.b.item(), MEAN, abs_tol=1e-3)
    assert math.isclose(abs(generator.a.item()), STD, abs_tol=1e-3)


def test_the_adversarial_loss_alone_draws_the_generator_to_the_datas_mean() -> None:
    """Its derivative is zero at the data, and has the sign of (b - mean) aside of it."""
    slopes = []
    for b in (MEAN - 0.2, MEAN, MEAN + 0.2):
        torch.manual_seed(0)
        generator = Affine(STD, b)
        x, noised = draw(generator, 4096)
        surrogate_loss(x, adversarial(Scores(REAL, generator.fake, generator.logits), noised)[1]).backward()
        slopes.append(generator.b.grad.item())
    assert slopes[0] < -1e-2
    assert slopes[1] == pytest.approx(0, abs=1e-6)
    assert slopes[2] > 1e-2


@pytest.mark.parametrize("loss", METHODS)
def test_at_the_data_there_is_nothing_to_do(loss: str) -> None:
    torch.manual_seed(0)
    generator = Affine(STD, MEAN)
    settings = Matching(loss=loss, noise=NOISE)
    value, gradient = METHODS[loss](Scores(REAL, generator.fake, None), draw(generator, 64)[1], settings)
    assert abs(value.item()) < 1e-6
    assert gradient.abs().max() * gradient.numel() < 1e-4


def test_a_fake_score_of_all_steps_pushes_a_last_step_off_the_data() -> None:
    """Of two steps the last draws the data, the first a mean too low: only the last's own score leaves it there."""
    torch.manual_seed(0)
    low = torch.full((1, *SHAPE), MEAN - 0.3)
    means = torch.cat([torch.full((1, *SHAPE), MEAN), low])
    both = GaussianMixtureDenoiser(means, torch.tensor([STD, STD]), torch.tensor([0.5, 0.5]), SCHEDULE)
    generator, settings, slopes = Affine(STD, MEAN), Matching(loss="dmd", noise=NOISE), []
    x, noised = draw(generator, 512)
    for fake in (both, generator.fake):
        gradient = METHODS["dmd"](Scores(REAL, fake, None), noised, settings)[1]
        slopes.append(torch.autograd.grad(surrogate_loss(x, gradient), generator.b, retain_graph=True)[0].item())
    assert slopes[0] < -0.05  # descent raises the mean, to make up for the first step's
    assert slopes[1] == pytest.approx(0, abs=1e-5)


def test_the_divergence_weighs_samples_by_the_exact_ratio() -> None:
    """Against g of the plain loss, h of the exact ratio and the mean of h in the sample's third of the range."""
    torch.manual_seed(0)
    generator = Affine()
    _, noised = draw(generator, 48)
    scores = Scores(REAL, generator.fake, generator.logits)
    plain, weighed = (
        METHODS["dmd"](scores, noised, Matching(loss="dmd", noise=NOISE, divergence=name))[1]
        for name in ("reverse_kl", "jensen_shannon")
    )
    ratio = generator.logits(noised.x_t(noised.x), noised.t, None).clamp(-MAX_LOGIT, MAX_LOGIT).exp()
    h = ratio / (1 + ratio)
    level = (SCHEDULE.sigma(noised.t) / SCHEDULE.alpha(noised.t)).log()
    thirds = ((level - math.log(NOISE[0])) / math.log(NOISE[1] / NOISE[0]) * 3).floor().clamp(0, 2).long()
    assert torch.equal(noised.bins(*NOISE), thirds)
    means = torch.stack([h[thirds == third].mean() for third in range(3)])
    torch.testing.assert_close(weighed, scale(plain, h / means[thirds]), rtol=1e-4, atol=1e-8)
