"""EDM teachers published as one file of tensors with ADM's names (Dhariwal & Nichol 2021), made a diffusers folder.

So is OpenAI's `edm_imagenet64_ema.pt`. ADM's network is a `UNet2DModel` whose levels are halved and doubled by residual
blocks; times scale and shift; q, k and v are the thirds of one layer, and a head has 64 channels.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import CMStochasticIterativeScheduler, UNet2DModel
from torch import Tensor

from dmd.fetch.conversions import convert_into
from dmd.fetch.pointers import refuse_pointer
from dmd.fetch.weights_folder import read_pickle, read_weights
from dmd.runtime.files import file_sha256

HEAD_CHANNELS, GROUPS = 64, 32

AROUND = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""Layers outside the blocks, by their name in the file, and by diffusers'."""

LAYERS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
    "norm": "group_norm",
    "proj_out": "to_out.0",
}
"""Layers of a block, residual or attention; `qkv` is taken apart."""


def import_checkpoint(path: Path, downloads: Path) -> Path:
    """Convert a file of tensors.

    Returns:
        The folder, in `downloads`, by the file's hash: `unet/` and `scheduler/` as diffusers has them.

    Raises:
        ValueError: the file is cut, a Git-LFS pointer, holds anything but tensors, or those of another network.
    """
    refuse_pointer(path)

    def fill(part: Path) -> None:
        backbone = convert(read_weights(path) if path.suffix == ".safetensors" else _unpickled(path))
        backbone.save_pretrained(part / "unet", safe_serialization=True)
        CMStochasticIterativeScheduler(sigma_min=0.0, clip_denoised=False).save_pretrained(part / "scheduler")

    return convert_into(downloads / "checkpoints" / file_sha256(path), fill, anew=True)


def _unpickled(path: Path) -> dict[str, Tensor]:
    try:
        return read_pickle(path)
    except ValueError as error:
        raise ValueError(
            f"teacher.source {error}. A pickle of code, as NVIDIA's EDM networks are, runs what it holds when it is "
            "read; here it is not run. Take a file of tensors with ADM's names, such as edm_imagenet64_ema.pt, or a "
            "diffusers folder"
        ) from error


def convert(tensors: Mapping[str, Tensor]) -> UNet2DModel:
    """The network of a state dict with ADM's names; its size is the state's.

    Raises:
        ValueError: entries are missing, unknown or of another shape.
    """
    try:
        channels, attends, depth = _levels(tensors)
        backbone = UNet2DModel(**_config(tensors, channels, attends, depth))
        backbone.load_state_dict(_renamed(tensors, AROUND | _blocks(attends, depth)))
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise ValueError(f"the checkpoint's tensors are not those of an ADM network: {str(error)[:300]}") from error
    return backbone.eval()


def _levels(tensors: Mapping[str, Tensor]) -> tuple[list[int], list[bool], int]:
    """Channels of each level, from full resolution down, whether it attends, and its number of residual blocks.

    On the way up a level has one block more, and all but the highest end with one that doubles the image.
    """
    outputs = {key.split(".")[1] for key in tensors if key.startswith("output_blocks.")}
    doubling = [key for key in tensors if re.fullmatch(r"output_blocks\.\d+\.[12]\.in_layers\.0\.weight", key)]
    count = len(doubling) + 1
    depth = len(outputs) // count - 1
    first = [f"input_blocks.{1 + level * (depth + 1)}" for level in range(count)]
    channels = [len(tensors[f"{block}.0.out_layers.3.weight"]) for block in first]
    return channels, [f"{block}.1.qkv.weight" in tensors for block in first], depth


def _config(tensors: Mapping[str, Tensor], channels: list[int], attends: list[bool], depth: int) -> dict[str, Any]:
    scales = len(tensors["middle_block.0.emb_layers.1.weight"]) == 2 * channels[-1]
    return {
        "in_channels": tensors["input_blocks.0.0.weight"].shape[1],
        "out_channels": len(tensors["out.2.weight"]),
        "block_out_channels": tuple(channels),
        "layers_per_block": depth,
        "down_block_types": tuple("AttnDownBlock2D" if attend else "ResnetDownsampleBlock2D" for attend in attends),
        "up_block_types": tuple("AttnUpBlock2D" if attend else "ResnetUpsampleBlock2D" for attend in attends[::-1]),
        "attention_head_dim": HEAD_CHANNELS,
        "norm_num_groups": GROUPS,
        "attn_norm_num_groups": GROUPS,
        "resnet_time_scale_shift": "scale_shift" if scales else "default",
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "num_class_embeds": len(tensors["label_emb.weight"]) if "label_emb.weight" in tensors else None,
    }


def _blocks(attends: list[bool], depth: int) -> dict[str, str]:
    """Blocks by their name in the file, which numbers them through, and by diffusers'."""
    names = {"middle_block.0": "mid_block.resnets.0", "middle_block.1": "mid_block.attentions.0"}
    names["middle_block.2"] = "mid_block.resnets.1"
    for level, attend in enumerate(reversed(attends)):
        for layer in range(depth):
            block = f"input_blocks.{1 + level * (depth + 1) + layer}"
            names[f"{block}.0"] = f"down_blocks.{level}.resnets.{layer}"
            names[f"{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
        names[f"input_blocks.{(level + 1) * (depth + 1)}.0"] = f"down_blocks.{level}.downsamplers.0"
        for layer in range(depth + 1):
            block = f"output_blocks.{level * (depth + 1) + layer}"
            names[f"{block}.0"] = f"up_blocks.{level}.resnets.{layer}"
            names[f"{block}.1"] = f"up_blocks.{level}.attentions.{layer}"
        names[f"{block}.{2 if attend else 1}"] = f"up_blocks.{level}.upsamplers.0"
    return names


def _renamed(tensors: Mapping[str, Tensor], blocks: Mapping[str, str]) -> dict[str, Tensor]:
    """The state dict of a `UNet2DModel`, from one with ADM's names; attention's convolutions of one pixel are flat."""
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        layer, kind = key.rsplit(".", 1)
        block = next((name for name in (layer, *(layer.rsplit(".", n)[0] for n in (1, 2))) if name in blocks), None)
        if block is None:
            raise KeyError(f"unknown entry {key}")
        inner, place = layer[len(block) + 1 :], blocks[block]
        if inner == "qkv":
            thirds = value.reshape(len(value), -1).chunk(3) if kind == "weight" else value.chunk(3)
            found |= {
                f"{place}.{name}.{kind}": third for name, third in zip(("to_q", "to_k", "to_v"), thirds, strict=True)
            }
        elif inner == "proj_out" and kind == "weight":
            found[f"{place}.to_out.0.{kind}"] = value.reshape(len(value), -1)
        else:
            found[".".join(part for part in (place, LAYERS.get(inner, inner), kind) if part)] = value
    return found
