"""The networks by their class name in `config.json`, and by the kind that `teacher.backbone` asks for."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import ModelMixin, UNet2DModel
from safetensors import safe_open

from dmd.models.celeba_unet import CelebAUNet
from dmd.runtime.files import load_json
from dmd.models.needs import check_checkpointing
from dmd.models.teapearce import TeaPearceUNet, trained_betas

BACKBONES: dict[str, type[ModelMixin]] = {kind.__name__: kind for kind in (UNet2DModel, TeaPearceUNet, CelebAUNet)}
"""Every network by its class name. All are called alike and have the config of a `UNet2DModel` that is read here:
`sample_size`, `in_channels`, `num_class_embeds`."""


def load_backbone(folder: Path) -> ModelMixin:
    """The network of a folder with `config.json` and `diffusion_pytorch_model.safetensors`, in eval mode, on the CPU.

    Raises:
        ValueError: there is no `config.json`, it is of a class that is not one of `BACKBONES`, or the weights are not
            all of this network's, with its shapes, its types and finite values.
    """
    path = Path(folder) / "config.json"
    name = load_json(path).get("_class_name") if path.is_file() else None
    if name not in BACKBONES:
        raise ValueError(f"{path}: _class_name is {name!r}; a network of {', '.join(BACKBONES)} is needed")
    _check_values(Path(folder))
    try:
        backbone, found = BACKBONES[name].from_pretrained(
            folder, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (RuntimeError, TypeError, KeyError) as error:
        raise ValueError(f"{folder}: the weights do not fit config.json: {error}; restore both") from error
    wrong = {kind: sorted(keys)[:3] for kind, keys in found.items() if keys}
    if wrong:
        raise ValueError(f"{folder}: the weights do not fit config.json: {wrong}; restore both")
    return backbone.eval()


def _check_values(folder: Path) -> None:
    """Refuse weights that are no numbers, before a network takes them."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                tensor = file.get_tensor(name)
                if name.endswith(("weight", "bias")) and not tensor.is_floating_point():
                    raise ValueError(f"{path}: {name} is {tensor.dtype}, not a floating-point type; restore the file")
                if not tensor.isfinite().all():
                    raise ValueError(f"{path}: {name} has values that are not finite; restore the file")


def network_file(backbone: ModelMixin) -> Path | None:
    """The file that travels with the weights of a network that diffusers does not have; none for a `UNet2DModel`."""
    return None if isinstance(backbone, UNet2DModel) else Path(inspect.getfile(type(backbone)))


def checkpoint_activations(backbone: ModelMixin) -> None:
    """Let backward passes compute the insides of blocks again from the blocks' inputs, which alone are kept.

    Chen et al. 2016, arXiv 1604.06174, through diffusers. Passes without gradient are as before, to the bit.

    Raises:
        ValueError: the network has no such blocks.
    """
    check_checkpointing(True, type(backbone).__name__)
    backbone.enable_gradient_checkpointing()


def build_backbone(
    settings: Mapping[str, Any], schedule: Mapping[str, Any], image_shape: Sequence[int], num_class_embeds: int | None
) -> ModelMixin:
    """A fresh network of `settings["kind"]` with its other settings, for images of `image_shape` (C, H, W).

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
    if num_class_embeds is None:
        raise ValueError("teacher.backbone.kind `teapearce` is conditional; set dataset.num_classes")
    betas = {key: schedule[key] for key in ("num_train_timesteps", "beta_start", "beta_end")}
    return TeaPearceUNet(**shape, **options, **betas, num_class_embeds=num_class_embeds)


def scheduler_config(backbone: ModelMixin, config: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's config as `backbone` counts it: with betas of its own for a `TeaPearceUNet`, else as it is.

    Raises:
        ValueError: a `TeaPearceUNet` under another schedule than its own; names the key and both values.
    """
    if not isinstance(backbone, TeaPearceUNet):
        return dict(config)
    own = {key: backbone.config[key] for key in ("num_train_timesteps", "beta_start", "beta_end")}
    for key, value in {**own, "beta_schedule": "linear", "prediction_type": "epsilon"}.items():
        if config[key] != value:
            raise ValueError(f"teacher.schedule.{key} is {config[key]!r}, but the network was made for {value!r}")
    return {**config, "trained_betas": trained_betas(**own)}


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
