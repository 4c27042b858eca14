"""What the `config.json` of a network may say: each key with its type and bounds, and the network that all describe."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from diffusers import ModelMixin
from pydantic import Field, model_validator

from dmd.diffusion.calls import call_of, class_embeds
from dmd.models.backbones import BACKBONES, OF_TEXT
from dmd.models.config_bounds import NetworkConfig, Scale, Size, Small
from dmd.models.text_unet_config import UNet2DConditionConfig
from dmd.models.tried_out import try_out
from dmd.params.backbone import Width
from dmd.params.section import Switch
from dmd.params.teacher import Beta, Timesteps
from dmd.types import Images

Down = Annotated[str, Field(pattern="^(UNetRes)?(ResnetDownsample|(Attn)?(Skip)?Down)Block2D$")]
Up = Annotated[str, Field(pattern="^(UNetRes)?(ResnetUpsample|(Attn)?(Skip)?Up)Block2D$")]


class UNet2DConfig(NetworkConfig):
    """Of diffusers' `UNet2DModel`, with its defaults."""

    center_input_sample: Switch = False
    time_embedding_type: Literal["positional", "learned"] = "positional"
    time_embedding_dim: Size | None = None
    freq_shift: Annotated[int, Field(ge=0, le=1, strict=True)] = 0
    flip_sin_to_cos: Switch = True
    down_block_types: tuple[Down, ...] = ("DownBlock2D", *3 * ("AttnDownBlock2D",))
    mid_block_type: Literal["UNetMidBlock2D"] = "UNetMidBlock2D"
    up_block_types: tuple[Up, ...] = (*3 * ("AttnUpBlock2D",), "UpBlock2D")
    block_out_channels: Annotated[tuple[Size, ...], Field(min_length=1)] = (224, 448, 672, 896)
    layers_per_block: Annotated[int, Field(ge=1, le=64, strict=True)] = 2
    mid_block_scale_factor: Scale = 1
    downsample_padding: Annotated[int, Field(ge=0, le=1, strict=True)] = 1
    downsample_type: Literal["conv", "resnet"] = "conv"
    upsample_type: Literal["conv", "resnet"] = "conv"
    dropout: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.0
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    attention_head_dim: Size | None = 8
    norm_num_groups: Size = 32
    attn_norm_num_groups: Size | None = None
    norm_eps: Small = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    add_attention: Switch = True
    num_train_timesteps: Timesteps | None = None

    @model_validator(mode="after")
    def _levels_agree(self) -> "UNet2DConfig":
        levels = len(self.block_out_channels)
        for key in ("down_block_types", "up_block_types"):
            if len(getattr(self, key)) != levels:
                raise ValueError(f"{key} names {len(getattr(self, key))} blocks, but block_out_channels {levels}")
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"norm_num_groups {self.norm_num_groups} does not divide {channels} channels")
        if self.time_embedding_type == "learned" and self.num_train_timesteps is None:
            raise ValueError("time_embedding_type learned needs num_train_timesteps, but that is null")
        return self

    @property
    def timesteps(self) -> int | None:
        """The rows of a learned embedding."""
        return self.num_train_timesteps if self.time_embedding_type == "learned" else None

    @property
    def takes_levels(self) -> bool:
        """Sines and cosines take any number."""
        return self.time_embedding_type == "positional"


class TeaPearceConfig(NetworkConfig):
    """Of `TeaPearceUNet`, with its defaults."""

    width: Width = 128
    num_train_timesteps: Timesteps = 400
    beta_start: Annotated[Beta, Field(strict=True)] = 1e-4
    beta_end: Annotated[Beta, Field(strict=True)] = 2e-2

    @property
    def own_schedule(self) -> dict[str, Any]:
        """All values, since its tables are of these betas."""
        own = self.model_dump(include={"num_train_timesteps", "beta_start", "beta_end"})
        return {**own, "beta_schedule": "linear", "prediction_type": "epsilon"}


class CelebAConfig(NetworkConfig):
    """Of `CelebAUNet`, with its defaults."""

    width: Width = 16
    time_width: Annotated[Size, Field(ge=2, multiple_of=2)] = 64
    num_train_timesteps: Timesteps = 1000

    @property
    def timesteps(self) -> int:
        """The rows of its table."""
        return self.num_train_timesteps


class DiTConfig(NetworkConfig):
    """Of diffusers' `DiTTransformer2DModel`, with its defaults."""

    num_attention_heads: Size = 16
    attention_head_dim: Size = 72
    num_layers: Annotated[int, Field(ge=1, le=1024, strict=True)] = 28
    dropout: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.0
    norm_num_groups: Size = 32
    attention_bias: Switch = True
    patch_size: Size = 2
    activation_fn: Literal["gelu", "gelu-approximate", "geglu", "geglu-approximate"] = "gelu-approximate"
    upcast_attention: Switch = False
    norm_type: Literal["ada_norm_zero"] = "ada_norm_zero"
    norm_elementwise_affine: Switch = False
    norm_eps: Small = 1e-5


CONFIGS: dict[str, type[NetworkConfig]] = {
    "UNet2DModel": UNet2DConfig,
    "TeaPearceUNet": TeaPearceConfig,
    "CelebAUNet": CelebAConfig,
    "DiTTransformer2DModel": DiTConfig,
    OF_TEXT: UNet2DConditionConfig,
}
"""By class name."""


def check_images_pass(config: Mapping[str, Any], image_shape: Sequence[int]) -> None:
    """Build the network of a config without memory or values, on torch's meta device, and send an image through.

    Raises:
        ValueError: it cannot be built, is too large, or gives no image of the same shape; names the keys that decide.
    """

    def send(network: ModelMixin, images: Images) -> None:
        step = torch.zeros(1, dtype=torch.long)
        told = None if class_embeds(config) is None else step
        if config["_class_name"] == OF_TEXT:
            told = torch.empty(1, 1, network.config.cross_attention_dim)
        given = call_of(network)(network, images, step, told)
        if given.shape != images.shape:
            raise ValueError(f"it makes {list(given.shape[1:])} of them")

    keys = [key for key in ("block_out_channels", "attention_head_dim", "patch_size", "width") if key in config]
    try_out(BACKBONES, config, image_shape, send, f"config.json: {', '.join(keys) or 'its defaults'}")
