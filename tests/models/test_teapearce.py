"""The network of TeaPearce/Conditional_Diffusion_MNIST, against outputs of the public code and its own equations."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.teapearce import TeaPearceUNet, schedule_tables, trained_betas
from dmd.runtime.files import load_tensors

pytestmark = pytest.mark.maths

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "golden"
PUBLISHED = (400, 1e-4, 2e-2)


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_tensors(GOLDEN / "teapearce_n_feat16.safetensors")


@pytest.fixture(scope="module")
def network(golden: dict[str, torch.Tensor]) -> TeaPearceUNet:
    net = TeaPearceUNet(width=16).eval()
    net.load_state_dict({name[8:]: value for name, value in golden.items() if name.startswith("weights.")})
    return net


def public_state(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """a_s and b_s of the public code's x_t = a_s x0 + b_s eps at s = t + 1, float64 [B, 1, 1, 1]."""
    betas = [[1e-4 + (2e-2 - 1e-4) * s / 400 for s in range(int(last) + 2)] for last in t]
    alpha_bar = torch.tensor([math.prod(1 - beta for beta in row) for row in betas], dtype=torch.float64)
    return alpha_bar.sqrt()[:, None, None, None], (1 - alpha_bar).sqrt()[:, None, None, None]


def test_the_public_width_has_the_public_entries() -> None:
    net = TeaPearceUNet()
    expected = json.loads((GOLDEN / "teapearce_state_dict.json").read_text())
    found = {name: [str(value.dtype)[6:], list(value.shape)] for name, value in net.state_dict().items()}
    assert found == expected["entries"]
    assert len(found) == 135
    assert sum(weights.numel() for weights in net.parameters()) == expected["parameters"] == 6_585_601


@torch.no_grad()
def test_the_network_gives_the_public_output(network: TeaPearceUNet, golden: dict[str, torch.Tensor]) -> None:
    context = -(1 - golden["in.context_mask"])[:, None] * torch.nn.functional.one_hot(golden["in.label"], 10)
    epsilon = network.nn_model(golden["in.x_t"], context, golden["in.timestep"] / 400)
    assert (epsilon - golden["out.epsilon"]).abs().max() <= 1e-5


@torch.no_grad()
def test_the_whole_gives_the_public_output_at_the_same_state(
    network: TeaPearceUNet, golden: dict[str, torch.Tensor]
) -> None:
    """Time, labels and range at once: the public x_t, seen as images in [-1, 1], with t counted from 0 and null 10."""
    labels = torch.where(golden["in.context_mask"] == 1, 10, golden["in.label"])
    t = golden["in.timestep"] - 1
    a, b = public_state(t)
    x_t = ((2 * golden["in.x_t"] - a) / (a**2 + 4 * b**2).sqrt()).float()
    epsilon = network(x_t, t, labels).sample
    assert (epsilon - golden["out.epsilon"]).abs().max() <= 1e-5
    for wrong in (network(x_t, (t + 1).clamp(max=399), labels), network(x_t, t, golden["in.label"])):
        assert (wrong.sample - golden["out.epsilon"]).abs().max() > 1e-5
    assert (network(golden["in.x_t"], t, labels).sample - golden["out.epsilon"]).abs().max() > 1e-5


def test_the_schedule_is_the_public_one_seen_in_another_range() -> None:
    """Noise-to-signal of x0 in [-1, 1] is twice that of y0 = (x0 + 1) / 2; t = 0 is the public s = 1."""
    schedule = NoiseSchedule.from_betas(torch.tensor(trained_betas(*PUBLISHED), dtype=torch.float64))
    assert schedule.num_timesteps == 400
    t = torch.tensor([0, 1, 200, 399])
    a, b = public_state(t)
    assert torch.allclose(schedule.sigma(t) / schedule.alpha(t), (2 * b / a).flatten(), rtol=1e-9)


def test_a_known_image_is_found_from_the_true_noise() -> None:
    """With a network that knows eps, the denoiser of [-1, 1] images returns x0: range, schedule and output agree."""
    betas = trained_betas(*PUBLISHED)
    scheduler = DDPMScheduler(400, trained_betas=betas)
    x0, eps = torch.rand(3, 1, 28, 28) * 2 - 1, torch.randn(3, 1, 28, 28)
    t = torch.tensor([0, 150, 399])
    net = TeaPearceUNet(width=8).eval()
    seen: list[torch.Tensor] = []

    class Oracle(torch.nn.Module):
        def forward(self, y: torch.Tensor, context: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
            seen[:] = [y, context, time]
            return eps

    net.nn_model = Oracle()
    denoiser = Denoiser(net, NoiseSchedule.from_scheduler(scheduler), "epsilon")
    found = denoiser(denoiser.schedule.add_noise(x0, eps, t), t, torch.tensor([0, 9, 10]))
    assert (found - x0).abs().max() < 1e-4
    a, b = public_state(t)
    assert (seen[0] - (a * (x0 + 1) / 2 + b * eps)).abs().max() < 1e-5
    expected = torch.zeros(3, 10)
    expected[0, 0] = expected[1, 9] = -1
    assert torch.equal(seen[1], expected)
    assert torch.equal(seen[2], torch.tensor([1 / 400, 151 / 400, 1.0]))


def test_the_tables_are_those_of_the_public_checkpoint(golden: dict[str, torch.Tensor]) -> None:
    for name, table in schedule_tables(*PUBLISHED).items():
        assert torch.allclose(table.float(), golden[f"weights.{name}"], rtol=2e-4), name


@pytest.mark.parametrize(
    ("settings", "message"), [({"sample_size": 32}, "28 by 28"), ({"out_channels": 3}, "must equal in_channels 1")]
)
def test_what_it_cannot_do_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TeaPearceUNet(width=8, **settings)


def test_labels_are_needed() -> None:
    with pytest.raises(ValueError, match="needs class_labels"):
        TeaPearceUNet(width=8)(torch.zeros(1, 1, 28, 28), 0)
