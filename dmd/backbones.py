"""The networks: diffusers' `UNet2DModel`, built from a few numbers."""

from collections.abc import Sequence

from diffusers import UNet2DModel


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
    channels, height, _ = image_shape
    heights = [height // 2**level for level in range(len(block_out_channels))]
    attends = [level_height in attention_resolutions for level_height in heights]
    return UNet2DModel(
        sample_size=height,
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
