"""Training an autoencoder: its loss, its scale, a run that was cut off, and latents that no scale mends."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dmd.datasets.registry import to_images
from dmd.models.codec import LatentCodec
from dmd.params.codec import Codec, CodecTraining
from dmd.teacher.autoencoder import AutoencoderTrainer, Reconstruction, build_autoencoder
from dmd.teacher.network import build_dit

SETTINGS = CodecTraining(
    steps=6,
    batch_size=4,
    learning_rate=5e-3,
    warmup_steps=2,
    ema_decay=0.5,
    max_grad_norm=1.0,
    kl_weight=1e-3,
    checkpoint_steps=2,
)
CODEC = Codec(block_out_channels=(4, 4), layers_per_block=1, latent_channels=2, norm_num_groups=2)
# Flat images of twelve brightnesses, of sides that one halving and patches of two do not divide.
PIXELS = (torch.arange(12) * 20).to(torch.uint8)[:, None, None, None].expand(12, 1, 6, 7).contiguous()


def fresh(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    return build_autoencoder(CODEC, 1)


def trainer(net_seed: int = 0, **changes: Any) -> AutoencoderTrainer:
    settings = CodecTraining(**{**SETTINGS.model_dump(), **changes})
    return AutoencoderTrainer(fresh(net_seed), PIXELS, settings, 2, None, 0)


def weights(of: AutoencoderTrainer) -> list[Tensor]:
    return [parameter.detach().cpu().clone() for parameter in of.autoencoder.parameters()]


@pytest.mark.maths
def test_the_loss_is_the_squared_error_and_the_divergence_of_normals() -> None:
    given = fresh()
    x, eps = torch.rand(3, 1, 8, 8) * 2 - 1, torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        error, divergence = Reconstruction(given)(x, eps)
        posterior = given.encode(x).latent_dist
        decoded = given.decode(posterior.mean + posterior.std * eps).sample
    expected = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(divergence, expected)
    torch.testing.assert_close(error, torch.nn.functional.mse_loss(decoded, x))


def test_images_are_learnt_and_latents_have_unit_variance(tmp_path: Path) -> None:
    run = trainer(steps=60, batch_size=8, warmup_steps=5, checkpoint_steps=30)
    losses = run.run(tmp_path)
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert all(torch.equal(a, b.cpu()) for a, b in zip(weights(run), run.average.shadow_params, strict=True))
    latents = run.encode()
    assert latents.shape == (12, 2, 4, 4)
    assert latents.std(correction=0) == pytest.approx(1, abs=1e-5)
    codec = LatentCodec(run.autoencoder, PIXELS.shape[1:], 2)
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(to_images(PIXELS)), latents, rtol=0, atol=1e-6)
        assert codec.scale == pytest.approx(1 / float((latents / codec.scale).double().std(correction=0)), rel=1e-5)


class Killed(Exception):
    """Stands for a kill of the process."""


def test_an_interrupted_run_ends_bit_for_bit_like_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainer()
    losses, latents = whole.run(tmp_path / "whole"), whole.encode()
    cut = trainer()
    save = cut.state.save

    def killed(folder: Path, step: int, record: Any) -> None:
        save(folder, step, record)
        if step == 4:
            raise Killed

    monkeypatch.setattr(cut.state, "save", killed)
    with pytest.raises(Killed):
        cut.run(tmp_path / "cut")
    resumed = trainer(net_seed=77)
    assert resumed.run(tmp_path / "cut") == losses
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(whole), strict=True))
    assert torch.equal(resumed.encode(), latents)


def test_latents_that_are_all_the_same_are_refused() -> None:
    run = trainer()
    with torch.no_grad():
        for parameter in run.autoencoder.quant_conv.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match=r"teacher.codec.training: the latents .* deviate by 0, .* lower kl_weight"):
        run.encode()


def test_a_fresh_transformer_drops_no_label_of_its_own() -> None:
    torch.manual_seed(0)
    network = build_dit((2, 4, 4), 6, 1, 2, 4, 2).train()
    z, labels = torch.randn(64, 2, 4, 4), torch.arange(64) % 5
    with torch.no_grad():
        first, second = (network(z, timestep=torch.full((64,), 9), class_labels=labels).sample for _ in range(2))
        assert torch.equal(first, second)
        none = network(z, timestep=torch.full((64,), 9), class_labels=torch.full((64,), 5)).sample
    assert not torch.equal(first, none)
