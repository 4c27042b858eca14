"""The networks by their class name in `config.json`, and by the kind that `teacher.backbone` asks for."""

import inspect
from collections.abc import Mapping
from pathlib import Path

from diffusers import DiTTransformer2DModel, ModelMixin, UNet2DConditionModel, UNet2DModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dmd.models.celeba_unet import CelebAUNet
from dmd.models.teapearce import TeaPearceUNet
from dmd.runtime.handed import read_json

OF_DIFFUSERS: tuple[type[ModelMixin], ...] = (UNet2DModel, DiTTransformer2DModel, UNet2DConditionModel)

BACKBONES: dict[str, type[ModelMixin]] = {
    kind.__name__: kind for kind in (UNet2DModel, TeaPearceUNet, CelebAUNet, *OF_DIFFUSERS[1:])
}
"""Every network by its class name. How each is called, and how many classes it has, `dmd.diffusion.calls` says; all
have `sample_size` and `in_channels` in their config."""

OF_LATENTS = {True: "DiTTransformer2DModel", False: "UNet2DModel"}
"""The network of latents with classes, and without: those that a stock pipeline draws in one step."""

OF_TEXT = "UNet2DConditionModel"
"""The network of latents that is told prompts."""

BOTTLENECKS = {"UNet2DModel": "mid_block", "TeaPearceUNet": "nn_model.down2", "CelebAUNet": "middle"}
"""By class name: the part of the network that sees the image at its smallest."""


def bottleneck(backbone: nn.Module) -> nn.Module:
    """The part of a network that sees the image at its smallest.

    Raises:
        ValueError: the network is of a class that is not known.
    """
    name = type(backbone).__name__
    if name not in BOTTLENECKS:
        raise ValueError(f"{name}: its bottleneck is not known; set distill.discriminator.kind to convolutional")
    return backbone.get_submodule(BOTTLENECKS[name])


def load_backbone(folder: Path) -> ModelMixin:
    """The denoiser's network of a folder, one of `BACKBONES`; as `load_network`."""
    return load_network(folder, BACKBONES)


def load_network(folder: Path, kinds: Mapping[str, type[ModelMixin]]) -> ModelMixin:
    """The network of a folder with `config.json` and `diffusion_pytorch_model.safetensors`, in eval mode, on the CPU.

    Raises:
        ValueError: there is no `config.json`, it is of a class that is not one of `kinds`, or the weights are not
            all of this network's, with its shapes, its types and finite values.
    """
    path = Path(folder) / "config.json"
    name = read_json(path).get("_class_name") if path.is_file() else None
    if not isinstance(name, str) or name not in kinds:
        raise ValueError(f"{path}: _class_name is {name!r}; a network of {', '.join(kinds)} is needed")
    check_values(Path(folder))
    try:
        network, found = kinds[name].from_pretrained(
            folder, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except (RuntimeError, TypeError, KeyError) as error:
        said = " ".join(str(error).split())  # diffusers' sentence has several lines
        raise ValueError(f"{folder}: the weights do not fit config.json: {said}; restore both") from error
    wrong = {kind: sorted(keys)[:3] for kind, keys in found.items() if keys}
    if wrong:
        raise ValueError(f"{folder}: the weights do not fit config.json: {wrong}; restore both")
    return network.float().eval()  # weights may be stored in half precision


def check_values(folder: Path) -> None:
    """Refuse weights that are no numbers, before a network takes them.

    Raises:
        ValueError: a file of safetensors is cut, or has a value that is not finite; names it.
    """
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    _check_tensor(path, name, file.get_tensor(name))
        except SafetensorError as error:
            raise ValueError(f"{path}: cut, or no safetensors file: {error}; restore the file") from error


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    if name.endswith(("weight", "bias")) and not tensor.is_floating_point():
        raise ValueError(f"{path}: {name} is {tensor.dtype}, not a floating-point type; restore the file")
    if not tensor.isfinite().all():
        raise ValueError(f"{path}: {name} has values that are not finite; restore the file")


def network_file(backbone: ModelMixin) -> Path | None:
    """The file that travels with the weights of a network that diffusers does not have; none for diffusers' own."""
    return None if isinstance(backbone, OF_DIFFUSERS) else Path(inspect.getfile(type(backbone)))


def check_checkpointing(wanted: bool, class_name: str) -> None:
    """Hold `distill.gradient_checkpointing` against the class of the network.

    Raises:
        ValueError: it is true, and the network has no blocks for it.
    """
    if wanted and not getattr(BACKBONES.get(class_name), "_supports_gradient_checkpointing", False):
        raise ValueError(
            f"distill.gradient_checkpointing true: the teacher's network, {class_name}, does not support it; set it to "
            "false, and lower distill.micro_batch_size to save memory"
        )


def checkpoint_activations(backbone: ModelMixin) -> None:
    """Let backward passes compute the insides of blocks again from the blocks' inputs, which alone are kept.

    Chen et al. 2016, arXiv 1604.06174, through diffusers. Passes without gradient are as before, to the bit.

    Raises:
        ValueError: the network has no such blocks.
    """
    check_checkpointing(True, type(backbone).__name__)
    backbone.enable_gradient_checkpointing()
