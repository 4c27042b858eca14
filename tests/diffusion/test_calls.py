"""Each network is called as its own pipeline calls it."""

import torch
from diffusers import DiTTransformer2DModel, UNet2DModel

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.schedule import NoiseSchedule
from dmd.teacher.network import build_unet

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 100, dtype=torch.float64))


def test_of_a_dit_the_first_channels_are_the_noise() -> None:
    torch.manual_seed(0)
    network = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=4,
        in_channels=2,
        out_channels=4,
        num_layers=1,
        norm_num_groups=2,
        sample_size=4,
        num_embeds_ada_norm=10,
    ).eval()
    x_t, t, labels = torch.randn(3, 2, 4, 4), torch.tensor([0, 5, 99]), torch.tensor([0, 9, 10])
    with torch.no_grad():
        output = network(x_t, timestep=t, class_labels=labels).sample
        found = Denoiser(network, SCHEDULE, "epsilon")(x_t, t, labels)
    alpha, sigma = (table.float()[:, None, None, None] for table in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    assert output.shape[1] == 4
    torch.testing.assert_close(found, (x_t - sigma * output[:, :2]) / alpha)


def test_a_network_is_told_the_index_or_the_level() -> None:
    torch.manual_seed(0)
    network: UNet2DModel = build_unet((1, 8, 8), None, (4, 8), 1, (), 2).eval()
    karras = NoiseSchedule.from_karras(100, 0.002, 80.0, 7.0, time_scale=0.25)
    x_t, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 50, 99])
    sigma = karras.sigma(t)
    with torch.no_grad():
        found = Denoiser(network, karras, "edm", sigma_data=0.7)(x_t, t)
        root = (sigma**2 + 0.49).sqrt().float()[:, None, None, None]
        output = network(x_t / root, 0.25 * sigma.log()).sample
        told_index = Denoiser(network, SCHEDULE, "epsilon")(x_t, t)
        index_output = network(x_t, t).sample
    sigma = sigma.float()[:, None, None, None]
    torch.testing.assert_close(found, 0.49 / root**2 * x_t + 0.7 * sigma / root * output)
    alpha, sigma = (table.float()[:, None, None, None] for table in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    torch.testing.assert_close(told_index, (x_t - sigma * index_output) / alpha)
