"""The networks of shift-tolerant LPIPS: AlexNet and VGG16 that blur wherever they lose resolution.

Ghildyal & Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022, arXiv 2207.13686; the blur is that of Zhang,
"Making Convolutional Networks Shift-Invariant Again", ICML 2019, arXiv 1904.11486. Written from the published sizes.
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dmd.runtime.files import load_tensors
from dmd.types import Images

Maps = Float[Tensor, "batch _ _ _"]
"""Images or features of any size, [B, C, H, W]; for results whose size differs from that of the argument."""

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""ImageNet's mean and standard deviation of each channel, for images in [-1, 1], as in LPIPS."""

VGG_SLICES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and number of the convolutions of VGG16 between two poolings."""

CONSTANTS = ("scaling_layer.shift", "scaling_layer.scale", ".filt")
"""How the names of stored constants end: `SHIFT`, `SCALE` and the blur's filters, which are written out here."""


class BlurPool(nn.Module):
    """Half the resolution without aliasing: pad 2 by reflection, blur with [1, 2, 1] / 4 both ways, keep every second.

    [B, C, H, W] → [B, C, (H + 1) // 2 + 1, (W + 1) // 2 + 1].
    """

    def forward(self, x: Images) -> Maps:
        """Blur and subsample; height and width are at least 3."""
        x = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        kernel = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
        weight = torch.outer(kernel, kernel).expand(x.shape[1], 1, 3, 3)
        return functional.conv2d(x, weight, stride=2, groups=x.shape[1])


class ShiftTolerantTrunk(nn.Module):
    """Features of an image after each of five slices of an AlexNet or VGG16 whose strides are `BlurPool`s.

    The layers count on through the slices, so the parameters are named `slice1.0.weight` … `slice5.13.bias`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: str) -> None:
        """Build the layers with random weights; `backbone` is `alex` or `vgg`.

        Raises:
            ValueError: another backbone.
        """
        super().__init__()
        if backbone not in ("alex", "vgg"):
            raise ValueError(f"backbone {backbone!r} of shift-tolerant LPIPS: take alex or vgg")
        index = 0
        for depth, layers in enumerate(_alexnet() if backbone == "alex" else _vgg16(), start=1):
            part = nn.Sequential()
            for layer in layers:
                part.add_module(str(index), layer)
                index += 1
            self.add_module(f"slice{depth}", part)
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, x: Images) -> list[Maps]:
        """Five feature maps, after their ReLU, of images [B, 3, H, W] in [-1, 1]."""
        x = (x - self.shift) / self.scale
        features = []
        for part in self.children():
            x = part(x)
            features.append(x)
        return features


def load_shift_tolerant(backbone: str, path: Path) -> tuple[ShiftTolerantTrunk, list[Tensor]]:
    """The trained metric in a safetensors file: its trunk, and the head [1, C, 1, 1] of each slice.

    The names in the file are those of the authors' package: `net.slice1.0.weight`, …, `lin4.model.1.weight`.

    Raises:
        ValueError: the tensors are not those of this backbone.
    """
    trunk = ShiftTolerantTrunk(backbone)
    tensors = {name: value for name, value in load_tensors(path).items() if not name.endswith(CONSTANTS)}
    try:
        heads = [tensors.pop(f"lin{i}.model.1.weight") for i in range(len(list(trunk.children())))]
        trunk.load_state_dict({name.removeprefix("net."): value for name, value in tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: not the weights of stlpips-{backbone}; fetch them again: {error}") from error
    return trunk, heads


def _convolution(before: int, after: int, size: int, padding: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, padding=padding)


def _alexnet() -> Iterable[list[nn.Module]]:
    """AlexNet with all strides turned into blurs; the first convolution's stride 4 became two of them."""
    return (
        [_convolution(3, 64, 11, 2), BlurPool(), nn.ReLU()],
        [nn.MaxPool2d(3, stride=1), BlurPool(), _convolution(64, 192, 5, 2), nn.ReLU()],
        [nn.MaxPool2d(3, stride=1), BlurPool(), _convolution(192, 384, 3, 1), nn.ReLU()],
        [_convolution(384, 256, 3, 1), nn.ReLU()],
        [_convolution(256, 256, 3, 1), nn.ReLU()],
    )


def _vgg16() -> Iterable[list[nn.Module]]:
    """VGG16 with each pooling's stride turned into a blur."""
    before = 3
    for depth, (width, count) in enumerate(VGG_SLICES):
        layers: list[nn.Module] = [nn.MaxPool2d(2, stride=1), BlurPool()] if depth else []
        for _ in range(count):
            layers += [_convolution(before, width, 3, 1), nn.ReLU()]
            before = width
        yield layers
