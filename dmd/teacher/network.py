"""Fresh networks by the kind that teacher.backbone asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffusers import DiTTransformer2DModel, ModelMixin, UNet2DModel
from diffusers.models.embeddings import LabelEmbedding

from dmd.models.celeba_unet import CelebAUNet
from dmd.models.teapearce import TeaPearceUNet


def build_backbone(
    settings: Mapping[str, Any], schedule: Mapping[str, Any], image_shape: Sequence[int], num_class_embeds: int | None
) -> ModelMixin:
    """A fresh network of `settings["kind"]` with its other settings, for images or latents of `image_shape` (C, H, W).

    Raises:
        ValueError: the network does not fit the images or the classes.
    """
    channels, height, _ = image_shape
    shape = {"sample_size": height, "in_channels": channels, "out_channels": channels}
    options = {key: value for key, value in settings.items() if key != "kind"}
    if settings["kind"] == "unet2d":
        return build_unet(image_shape, num_class_embeds, **options)
    if settings["kind"] == "celeba":
        steps = schedule["num_train_timesteps"]
        return CelebAUNet(**shape, **options, num_class_embeds=num_class_embeds, num_train_timesteps=steps)
    if settings["kind"] == "dit":
        return build_dit(image_shape, num_class_embeds, **options)
    if num_class_embeds is None:
        raise ValueError("teacher.backbone.kind `teapearce` is conditional; set dataset.num_classes")
    betas = {key: schedule[key] for key in ("num_train_timesteps", "beta_start", "beta_end")}
    return TeaPearceUNet(**shape, **options, **betas, num_class_embeds=num_class_embeds)


def build_unet(
    image_shape: Sequence[int],
    num_class_embeds: int | None,
    block_out_channels: Sequence[int],
    layers_per_block: int,
    attention_resolutions: Sequence[int],
    norm_num_groups: int,
) -> UNet2DModel:
    """A fresh `UNet2DModel` for images of `image_shape` (C, H, W), each level half the height of the one above.

    Levels whose height is in `attention_resolutions` have single-head self-attention, as the middle always does.
    """
    channels, height, width = image_shape
    heights = [height // 2**level for level in range(len(block_out_channels))]
    attends = [level_height in attention_resolutions for level_height in heights]
    return UNet2DModel(
        sample_size=height if height == width else (height, width),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        attention_head_dim=None,
        norm_num_groups=norm_num_groups,
        num_class_embeds=num_class_embeds,
    )


def build_dit(
    latent_shape: Sequence[int],
    num_class_embeds: int | None,
    num_layers: int,
    num_attention_heads: int,
    attention_head_dim: int,
    patch_size: int,
) -> DiTTransformer2DModel:
    """A fresh `DiTTransformer2DModel` for latents of `latent_shape` (C, H, W), a square; its last class is none.

    Raises:
        ValueError: there are no classes.
    """
    if num_class_embeds is None:
        raise ValueError("teacher.backbone.kind `dit` is conditional; set dataset.num_classes")
    channels, height, _ = latent_shape
    network = DiTTransformer2DModel(
        sample_size=height,
        in_channels=channels,
        num_layers=num_layers,
        num_attention_heads=num_attention_heads,
        attention_head_dim=attention_head_dim,
        patch_size=patch_size,
        num_embeds_ada_norm=num_class_embeds - 1,
    )
    for part in network.modules():
        if isinstance(part, LabelEmbedding):
            part.dropout_prob = 0  # the trainer drops labels, each by its own number
    return network
