"""Feature nets: image to feature vector and class logits, for distances between sets of images.

A feature net is a `ModelMixin`, so it saves and loads as `config.json` with `diffusion_pytorch_model.safetensors`.
"""

from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import nn

from dmd.features.lenet import LeNet


def load_features(folder: Path | str) -> nn.Module:
    """The feature net that lies in `folder`, on the CPU, frozen and in eval mode.

    Raises:
        ValueError: a file is missing, the folder holds another class of net, or its weights do not fit its config.
    """
    folder = Path(folder)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder}: {name} is missing; the `fetch` stage or `tools/train_feature_net.py` writes it"
            )
    name = str(LeNet.load_config(folder, local_files_only=True).get("_class_name"))
    kind = _net_class(name)
    if kind is None:
        raise ValueError(f"{folder}: config.json is of a {name!r}, which is no feature net; fetch it again")
    try:
        net, report = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except RuntimeError as error:
        raise ValueError(f"{folder}: the weights do not fit config.json; fetch them again: {error}") from error
    wrong = {kind: keys for kind, keys in report.items() if keys}
    if wrong:
        raise ValueError(f"{folder}: the weights do not fit config.json ({wrong}); fetch them again")
    net.to(memory_format=torch.channels_last)  # up to twice as fast on a CPU; the same features but for rounding
    return net.eval().requires_grad_(False)


def _net_class(name: str) -> type[ModelMixin] | None:
    """The class of a feature net by its name; the libraries of the large ones are loaded only for them."""
    if name == "EfficientNetLite0":
        from dmd.features.efficientnet import EfficientNetLite0

        return EfficientNetLite0
    if name == "InceptionV3":
        from dmd.features.inception import InceptionV3

        return InceptionV3
    return LeNet if name == "LeNet" else None
