"""What the `config.json` of a `UNet2DConditionModel` may say: the keys of a network that is told prompts alone."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dmd.models.config_bounds import NetworkConfig, Scale, Size, Small
from dmd.params.section import Switch

Down = Annotated[str, Field(pattern="^(CrossAttn)?DownBlock2D$")]
Up = Annotated[str, Field(pattern="^(CrossAttn)?UpBlock2D$")]
Levels = Annotated[tuple[Size, ...], Field(min_length=1, max_length=16)]

TOLD_MORE = {
    "addition_embed_type": "the network is told sizes beside text, as SDXL's is",
    "encoder_hid_dim_type": "the network is told more than one encoder's text",
    "time_cond_proj_dim": "the network is told a guidance scale, as latent consistency models are, which are no "
    "teachers: take what it was distilled from",
}
"""Keys of one that is told more than prompts, and what that means."""


class UNet2DConditionConfig(NetworkConfig):
    """With diffusers' defaults; what is None alone belongs to networks that are told more, or was never trained."""

    center_input_sample: Switch = False
    flip_sin_to_cos: Switch = True
    freq_shift: Annotated[int, Field(ge=0, le=1, strict=True)] = 0
    down_block_types: tuple[Down, ...] = (*3 * ("CrossAttnDownBlock2D",), "DownBlock2D")
    mid_block_type: Literal["UNetMidBlock2DCrossAttn"] = "UNetMidBlock2DCrossAttn"
    up_block_types: tuple[Up, ...] = ("UpBlock2D", *3 * ("CrossAttnUpBlock2D",))
    only_cross_attention: Switch = False
    block_out_channels: Levels = (320, 640, 1280, 1280)
    layers_per_block: Annotated[int, Field(ge=1, le=64, strict=True)] = 2
    downsample_padding: Annotated[int, Field(ge=0, le=1, strict=True)] = 1
    mid_block_scale_factor: Scale = 1
    dropout: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.0
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    norm_num_groups: Size = 32
    norm_eps: Small = 1e-5
    cross_attention_dim: Size = 1280
    transformer_layers_per_block: Size | Levels = 1
    reverse_transformer_layers_per_block: None = None
    encoder_hid_dim: None = None
    encoder_hid_dim_type: None = None
    attention_head_dim: Size | Levels = 8
    num_attention_heads: None = None
    dual_cross_attention: Switch = False
    use_linear_projection: Switch = False
    addition_embed_type: None = None
    addition_time_embed_dim: None = None
    upcast_attention: Switch = False
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    resnet_skip_time_act: Switch = False
    resnet_out_scale_factor: Scale = 1.0
    time_embedding_type: Literal["positional"] = "positional"
    time_embedding_dim: Size | None = None
    time_embedding_act_fn: None = None
    timestep_post_act: None = None
    time_cond_proj_dim: None = None
    conv_in_kernel: Annotated[int, Field(ge=1, le=15, strict=True)] = 3
    conv_out_kernel: Annotated[int, Field(ge=1, le=15, strict=True)] = 3
    projection_class_embeddings_input_dim: None = None
    attention_type: Literal["default"] = "default"
    class_embeddings_concat: Switch = False
    mid_block_only_cross_attention: None = None
    cross_attention_norm: None = None
    addition_embed_type_num_heads: Size = 64

    @model_validator(mode="before")
    @classmethod
    def _told_text_alone(cls, values: dict[str, Any]) -> dict[str, Any]:
        for key, why in TOLD_MORE.items():
            if values.get(key) is not None:
                raise ValueError(f"{key} is {values[key]!r:.100}: {why}")
        return values

    @model_validator(mode="after")
    def _levels_agree(self) -> "UNet2DConditionConfig":
        levels = len(self.block_out_channels)
        for key in ("down_block_types", "up_block_types", "attention_head_dim", "transformer_layers_per_block"):
            value = getattr(self, key)
            if isinstance(value, tuple) and len(value) != levels:
                raise ValueError(f"{key} has {len(value)} entries, but block_out_channels {levels}")
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"norm_num_groups {self.norm_num_groups} does not divide {channels} channels")
        return self
