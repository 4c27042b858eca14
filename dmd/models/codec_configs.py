"""What the `config.json` of an autoencoder may say, and what it makes of images: held before weights are brought."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from diffusers import ModelMixin
from pydantic import Field, model_validator

from dmd.models.codec import AUTOENCODERS, LatentCodec
from dmd.models.config_bounds import NetworkConfig, Scale, Size, validate
from dmd.models.tried_out import try_out
from dmd.params.section import Switch
from dmd.types import Images

Down = Annotated[str, Field(pattern="^(Attn)?DownEncoderBlock2D$")]
Up = Annotated[str, Field(pattern="^(Attn)?UpDecoderBlock2D$")]


class AutoencoderConfig(NetworkConfig):
    """What diffusers' autoencoders share, with its defaults; the scale has none here, since it is of the weights."""

    scaling_factor: Scale
    shift_factor: Annotated[float, Field(ge=-1e3, le=1e3, strict=True)] | None = None
    down_block_types: tuple[Down, ...] = ("DownEncoderBlock2D",)
    up_block_types: tuple[Up, ...] = ("UpDecoderBlock2D",)
    block_out_channels: Annotated[tuple[Size, ...], Field(min_length=1, max_length=16)] = (64,)
    layers_per_block: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    latent_channels: Size
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    norm_num_groups: Size = 32
    mid_block_add_attention: Switch = True

    @model_validator(mode="after")
    def _has_no_shift(self) -> "AutoencoderConfig":
        if self.shift_factor:
            raise ValueError(f"shift_factor is {self.shift_factor:g}, which diffusers' pipelines of latents leave out")
        return self

    @model_validator(mode="after")
    def _levels_agree(self) -> "AutoencoderConfig":
        for key in ("down_block_types", "up_block_types"):
            found, levels = len(getattr(self, key)), len(self.block_out_channels)
            if found != levels:
                raise ValueError(f"{key} names {found} blocks, but block_out_channels {levels}")
        return self


class KLConfig(AutoencoderConfig):
    """Of diffusers' `AutoencoderKL`."""

    latents_mean: None = None
    latents_std: None = None
    use_quant_conv: Switch = True
    use_post_quant_conv: Switch = True


class VQConfig(AutoencoderConfig):
    """Of diffusers' `VQModel`."""

    num_vq_embeddings: Size = 256
    vq_embed_dim: Size | None = None
    norm_type: Literal["group"] = "group"
    lookup_from_codebook: Switch = False

    @model_validator(mode="after")
    def _decodes_numbers(self) -> "VQConfig":
        if self.lookup_from_codebook:
            raise ValueError(
                "lookup_from_codebook is true: its latents are rows of a table, and no noise leads to them"
            )
        return self


CODEC_CONFIGS: dict[str, type[AutoencoderConfig]] = {"AutoencoderKL": KLConfig, "VQModel": VQConfig}
"""By class name."""


def check_codec(config: Mapping[str, Any], image_shape: Sequence[int], multiple: int = 1) -> tuple[int, int, int]:
    """Channels, height and width of the latents of images of `image_shape`, sides a multiple of `multiple`.

    The autoencoder is built without memory or values, on torch's meta device, and an image sent through and back.

    Raises:
        ValueError: its class is not known, a value is missing or out of bounds, its scale too, or it does not take
            these images; names the key, both values and the cure.
    """
    file, name = "the codec's config.json", config.get("_class_name")
    if name not in AUTOENCODERS:
        raise ValueError(
            f"{file}: _class_name is {name!s:.100}, but this pipeline needs {' or '.join(AUTOENCODERS)}; "
            "set teacher.source to a teacher that fits"
        )
    if "scaling_factor" not in config:
        raise ValueError(
            f"{file}: scaling_factor is missing, which its latents are multiplied with; write it there, as the "
            "teacher was trained: no default is right for all"
        )
    for key in ("in_channels", "out_channels"):
        if config.get(key, 3) != image_shape[0]:
            raise ValueError(
                f"{file}: {key} is {config.get(key, 3)!s:.100}, but dataset.image_shape {list(image_shape)} needs "
                f"{image_shape[0]}; set teacher.source to a teacher that fits, or change the dataset"
            )
    validate(CODEC_CONFIGS[name], config, file)
    return _measure(config, image_shape, multiple)


def _measure(config: Mapping[str, Any], image_shape: Sequence[int], multiple: int) -> tuple[int, int, int]:
    def send(autoencoder: ModelMixin, images: Images) -> tuple[int, int, int]:
        codec = LatentCodec(autoencoder, image_shape, multiple)
        latents = codec.encode(images)
        given = codec.decode(latents)
        if tuple(latents.shape[1:]) != codec.latent_shape or given.shape != images.shape:
            raise ValueError(f"it makes latents of {list(latents.shape[1:])} and images of {list(given.shape[1:])}")
        channels, height, width = codec.latent_shape
        return channels, height, width

    where = "the codec's config.json: block_out_channels, norm_num_groups"
    return try_out(AUTOENCODERS, config, image_shape, send, where)
