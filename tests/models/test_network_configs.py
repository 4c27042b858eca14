"""Every key of a network's config is checked, by type and bounds; the truth is the class that reads it."""

import inspect
from typing import Any

import pytest
import torch

from dmd.models.backbones import BACKBONES
from dmd.models.compatibility import check_agreement
from dmd.models.network_configs import CONFIGS, check_images_pass
from tests.models.test_compatibility import SCHEDULE, network

COMPARED = {"sample_size", "in_channels", "out_channels", "class_embed_type"}
COMPARED |= {"num_class_embeds", "num_embeds_ada_norm"}
"""With the params, by `check_agreement`."""


@pytest.mark.parametrize("name", CONFIGS)
def test_the_keys_and_defaults_are_those_of_the_class(name: str) -> None:
    read = inspect.signature(BACKBONES[name]).parameters
    assert CONFIGS[name].model_fields.keys() == read.keys() - COMPARED
    assert CONFIGS[name]().model_dump() == {key: read[key].default for key in CONFIGS[name].model_fields}


def refusal(shape: tuple[int, int, int] = (1, 8, 8), classes: int | None = 4, **changes: Any) -> str:
    with pytest.raises(ValueError, match=r"set teacher\.source") as error:
        check_agreement(network(**changes), SCHEDULE, None, shape, classes)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sample_size", "8"),
        ("sample_size", 8.0),
        ("in_channels", True),
        ("num_class_embeds", 5.0),
        ("class_embed_type", "identity"),
        ("block_out_channels", [8, "8"]),
        ("block_out_channels", 8),
        ("block_out_channels", []),
        ("block_out_channels", [8, 8.0]),
        ("block_out_channels", [8, 8, 8]),
        ("down_block_types", None),
        ("down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"]),
        ("up_block_types", ["UpBlock2D"]),
        ("norm_num_groups", 0),
        ("norm_num_groups", 3),
        ("layers_per_block", 10**9),
        ("layers_per_block", None),
        ("downsample_padding", -1),
        ("dropout", "none"),
        ("dropout", 1.5),
        ("norm_eps", 0),
        ("norm_eps", float("inf")),
        ("mid_block_scale_factor", 1e-300),
        ("mid_block_type", None),
        ("act_fn", "softplus"),
        ("resnet_time_scale_shift", None),
        ("flip_sin_to_cos", 1),
        ("time_embedding_type", "fourier"),
        ("time_embedding_type", "learned"),
        ("attention_head_dim", 0),
    ],
)
def test_what_no_network_is_made_of_is_refused_by_file_and_key(key: str, value: Any) -> None:
    message = refusal(**{key: value})
    assert message.startswith("config.json: ")
    assert key in message


def test_rows_for_fewer_timesteps_than_the_schedule_has_are_refused() -> None:
    learned = {"time_embedding_type": "learned", "num_train_timesteps": 399}
    assert "num_train_timesteps is 399, but scheduler_config.json counts 400" in refusal(**learned)
    learned["num_train_timesteps"] = 400
    check_agreement(network(**learned), SCHEDULE, None, (1, 8, 8), 4)


@pytest.mark.parametrize("size", [None, [32, 32], "32"])
def test_the_networks_of_this_project_have_a_side(size: Any) -> None:
    config = {"_class_name": "CelebAUNet", "in_channels": 3, "out_channels": 3, "sample_size": size}
    with pytest.raises(ValueError, match=r"config.json: sample_size is .*dataset.image_shape \[3, 32, 32\] needs 32"):
        check_agreement(config, SCHEDULE, None, (3, 32, 32), None)
    check_agreement({**config, "sample_size": 32}, SCHEDULE, None, (3, 32, 32), None)


def test_a_teapearce_network_of_another_schedule_is_refused_on_the_configs() -> None:
    config = {"_class_name": "TeaPearceUNet", "in_channels": 1, "out_channels": 1, "sample_size": 28, "width": 8}
    config |= {"num_class_embeds": 11, "beta_end": 0.01}
    with pytest.raises(ValueError, match=r"teacher.schedule.beta_end is 0.02, but config.json .* made for 0.01"):
        check_agreement(config, SCHEDULE, None, (1, 28, 28), 10)


def test_images_that_cannot_be_halved_and_too_large_networks_are_refused() -> None:
    config = network(None, block_out_channels=[8] * 3, down_block_types=["DownBlock2D"] * 3)
    config |= {"up_block_types": ["UpBlock2D"] * 3, "sample_size": None}
    with pytest.raises(ValueError, match=r"block_out_channels: no UNet2DModel .* takes images of \[1, 10, 10\]"):
        check_images_pass(config, (1, 10, 10))
    check_images_pass(config, (1, 12, 8))
    with pytest.raises(ValueError, match=r"it would have [\d,]+ parameters"):
        check_images_pass({**config, "block_out_channels": [2**16] * 3}, (1, 8, 8))


def test_no_random_number_is_drawn() -> None:
    before = torch.random.get_rng_state()
    check_images_pass(network(), (1, 8, 8))
    assert torch.equal(torch.random.get_rng_state(), before)
