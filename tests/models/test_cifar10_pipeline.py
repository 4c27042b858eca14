"""pipelines/cifar10 is the talk's system: its numbers, and the network of google/ddpm-cifar10-32 to the parameter."""

from pathlib import Path

import torch
from diffusers import UNet2DModel

from dmd.models.compatibility import check_agreement
from dmd.params.config import load_config
from dmd.teacher.network import build_backbone

PARAMS = Path(__file__).resolve().parents[2] / "pipelines" / "cifar10" / "params.yaml"

PUBLISHED = {
    "_class_name": "UNet2DModel",
    "act_fn": "silu",
    "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "in_channels": 3,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
"""config.json of google/ddpm-cifar10-32; its scheduler's says neither prediction type nor, of old, more than this."""
SCHEDULER = {
    "_class_name": "DDPMScheduler",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "clip_sample": True,
    "num_train_timesteps": 1000,
    "trained_betas": None,
    "variance_type": "fixed_large",
}


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def test_both_the_published_network_and_the_untrained_one_have_the_talks_parameters() -> None:
    config = load_config(PARAMS)
    with torch.device("meta"):
        published = UNet2DModel.from_config(PUBLISHED)
        network = config.teacher.backbone.model_dump()
        made = build_backbone(network, config.teacher.schedule.model_dump(), config.dataset.image_shape, None)
    assert sum(parameter.numel() for parameter in published.parameters()) == 35_746_307
    assert shapes(made) == shapes(published)


def test_the_params_agree_with_the_checkpoint() -> None:
    config = load_config(PARAMS)
    schedule = config.teacher.schedule.model_dump()
    check_agreement(PUBLISHED, SCHEDULER, schedule, config.dataset.image_shape, config.dataset.num_classes)


def test_the_numbers_are_the_talks() -> None:
    config = load_config(PARAMS)
    settings = config.distill
    assert (config.pairs.count, settings.batch_size, settings.steps, settings.history_epochs) == (4864, 64, 1520, 20)
    assert settings.steps * settings.pairs_batch_size == settings.history_epochs * config.pairs.count
    assert settings.learning_rate_generator == settings.learning_rate_fake == 1e-6
    assert config.alpha == 0.5
