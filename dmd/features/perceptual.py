"""Perceptual distances, behind one callable: `distance(x, y)` is one number a sample.

Learned ones compare features f_l of a fixed network, normalised over channels and weighted by trained w_l ≥ 0:

    d(x, y) = Σ_l mean_{h,w} Σ_c w_lc (f̂_l(x) - f̂_l(y))²,   f̂ = f / (‖f‖₂ + 1e-10)

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, arXiv 1801.03924,
eq. 1. Shift-tolerant LPIPS has the same form, but another network and weights: its numbers are no LPIPS.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import lpips
from torch import Tensor, nn
from torch.nn import functional

from dmd.features.channels import three_channels
from dmd.features.shift_tolerant import Maps, load_shift_tolerant
from dmd.params.perceptual import SMALLEST_RESOLUTION
from dmd.runtime.files import load_tensors
from dmd.types import Images, PerSample

EPSILON = 1e-10
"""Added to the norm of a feature vector."""


class PixelDistance(nn.Module):
    """d(x, y) = mean over C, H, W of (x - y)², at one resolution."""

    def __init__(self, resolution: int) -> None:
        """Compare at `resolution` × `resolution`."""
        super().__init__()
        self.resolution = resolution

    def forward(self, x: Images, y: Images) -> PerSample:
        """One distance a sample.

        Raises:
            ValueError: x and y differ in shape.
        """
        _check_pair(x, y)
        return (resize(x, self.resolution) - resize(y, self.resolution)).square().mean(dim=(1, 2, 3))


class FeatureDistance(nn.Module):
    """The learned distance of this file's head: a trunk gives the features f_l, the heads are the weights w_l.

    Frozen. The gradient is finite where all channels of a feature are zero, where that of the
    `lpips` package is not.
    """

    def __init__(self, trunk: nn.Module, heads: Sequence[Tensor], resolution: int) -> None:
        """Hold the parts.

        Args:
            trunk: images [B, 3, H, W] in [-1, 1] to a sequence of features [B, C_l, H_l, W_l].
            heads: the weights [1, C_l, 1, 1] of each.
            resolution: height and width that images are resized to first.
        """
        super().__init__()
        self.trunk = trunk
        self.heads = nn.ParameterList(head.detach().clone() for head in heads)
        self.resolution = resolution
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Images, y: Images) -> PerSample:
        """One distance a sample, of images with 1 or 3 channels.

        Raises:
            ValueError: x and y differ in shape, or have neither 1 nor 3 channels.
        """
        _check_pair(x, y)
        features = zip(self.heads, self._features(x), self._features(y), strict=True)
        terms = [(head * (a - b).square()).sum(dim=1).mean(dim=(1, 2)) for head, a, b in features]
        return sum(terms[1:], start=terms[0])

    def _features(self, x: Images) -> list[Maps]:
        """The normalised features of each slice."""
        x = three_channels(resize(x, self.resolution))
        return [f / (f.norm(dim=1, keepdim=True) + EPSILON) for f in self.trunk(x)]


def build_perceptual(name: str, resolution: int, folder: Path) -> nn.Module:
    """The perceptual distance with this name: a module that takes images x and y in [-1, 1] and gives [B] distances.

    Args:
        name: `pixel`, `lpips-{vgg,alex,squeeze}` or `stlpips-{vgg,alex}`.
        resolution: height and width that images are resized to first, bilinearly.
        folder: what `fetch` wrote: `backbone.safetensors` for LPIPS, `model.safetensors` for shift-tolerant LPIPS.

    Raises:
        ValueError: unknown name, too small a resolution for it, or weights that are missing or do not fit.
    """
    if name not in SMALLEST_RESOLUTION:
        raise ValueError(f"perceptual.name {name!r}: take one of {', '.join(SMALLEST_RESOLUTION)}")
    if resolution < SMALLEST_RESOLUTION[name]:
        raise ValueError(
            f"perceptual.resolution {resolution}: {name} needs at least {SMALLEST_RESOLUTION[name]}; images are resized"
        )
    if name == "pixel":
        return PixelDistance(resolution)
    kind, _, backbone = name.partition("-")
    path = folder / ("backbone.safetensors" if kind == "lpips" else "model.safetensors")
    if not path.is_file():
        raise ValueError(f"{path} is missing, perceptual.name {name} needs it; run the fetch stage")
    trunk, heads = load_lpips(backbone, path) if kind == "lpips" else load_shift_tolerant(backbone, path)
    return FeatureDistance(trunk, heads, resolution)


def load_lpips(backbone: str, path: Path) -> tuple[nn.Module, list[Tensor]]:
    """LPIPS 0.1: the trunk with the weights in `path`, and the trained heads, which the `lpips` package brings.

    Args:
        backbone: `vgg`, `alex` or `squeeze`.
        path: safetensors of torchvision's model, `features.0.weight`, …; its classifier is not used.

    Raises:
        ValueError: the tensors are not those of this backbone.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package asks torchvision for no weights in an old spelling
        metric = lpips.LPIPS(net=backbone, pretrained=True, pnet_rand=True, verbose=False)
    tensors = load_tensors(path)
    # The package's `slice2.3.weight` is torchvision's `features.3.weight`.
    names = {name: f"features.{name.partition('.')[2]}" for name in metric.net.state_dict()}
    try:
        metric.net.load_state_dict({name: tensors[source] for name, source in names.items()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: not the weights of lpips-{backbone}; fetch them again: {error}") from error
    return nn.Sequential(metric.scaling_layer, metric.net), [head.model[-1].weight for head in metric.lins]


def resize(images: Images, resolution: int) -> Maps:
    """Images at `resolution` × `resolution`, bilinear without anti-aliasing; unchanged if they have that size."""
    if images.shape[2:] == (resolution, resolution):
        return images
    return functional.interpolate(images, (resolution, resolution), mode="bilinear", align_corners=False)


def _check_pair(x: Images, y: Images) -> None:
    if x.shape != y.shape:
        raise ValueError(f"a distance needs two batches of the same shape, got {list(x.shape)} and {list(y.shape)}")
