"""Perceptual distances against closed forms, other networks with the same weights, and the authors' own numbers."""

from pathlib import Path

import lpips
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from dmd.features.perceptual import SMALLEST_RESOLUTION, FeatureDistance, build_perceptual, load_lpips
from dmd.features.shift_tolerant import BlurPool, ShiftTolerantTrunk, load_shift_tolerant
from dmd.fetch.downloads import downloads_folder, find
from dmd.fetch.perceptual import place_perceptual
from dmd.fetch.sources import BACKBONES, STLPIPS_WHEEL
from dmd.runtime.files import load_tensors, save_tensors

pytestmark = pytest.mark.filterwarnings("ignore:.*weights.*:UserWarning:torchvision")  # by the lpips package

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "shift_tolerant.safetensors"
"""Images [3, 3, 32, 32] as bytes, and the distances that the module of stlpips-pytorch 0.0.2 gives them."""

ALEXNET = {"slice1.0": (64, 3, 11), "slice2.5": (192, 64, 5), "slice3.9": (384, 192, 3)} | {
    "slice4.11": (256, 384, 3),
    "slice5.13": (256, 256, 3),
}
"""Names and sizes of the convolutions in the trained file."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(*shape):
    return torch.rand(shape) * 2 - 1


def blurred(x):
    """Two running means over 2 x 2 are one weighting with [1, 2, 1] / 4 both ways."""
    x = functional.pad(x, (2, 2, 2, 2), mode="reflect")
    return functional.avg_pool2d(functional.avg_pool2d(x, 2, stride=1), 2, stride=1)[:, :, ::2, ::2]


def random_alexnet():
    """A file's tensors with the published names: convolutions, heads, and constants that need no loading."""
    tensors = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "net.slice1.1.filt": torch.zeros(64, 1, 3, 3)}
    for depth, (name, (after, before, size)) in enumerate(ALEXNET.items()):
        tensors[f"net.{name}.weight"] = torch.randn(after, before, size, size) / (before * size * size) ** 0.5
        tensors[f"net.{name}.bias"] = torch.randn(after) / 4
        tensors[f"lin{depth}.model.1.weight"] = torch.rand(1, after, 1, 1)
    return tensors


def alexnet_features(tensors, x):
    """The published network, one operation a line."""

    def convolve(x, name, padding):
        return functional.conv2d(x, tensors[f"net.{name}.weight"], tensors[f"net.{name}.bias"], padding=padding)

    mean = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    deviation = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    first = blurred(convolve((x - mean) / deviation, "slice1.0", 2)).relu()
    second = convolve(blurred(functional.max_pool2d(first, 3, 1)), "slice2.5", 2).relu()
    third = convolve(blurred(functional.max_pool2d(second, 3, 1)), "slice3.9", 1).relu()
    fourth = convolve(third, "slice4.11", 1).relu()
    return [first, second, third, fourth, convolve(fourth, "slice5.13", 1).relu()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights for stlpips-alex and lpips-alex."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights")
    save_tensors(path / "model.safetensors", random_alexnet())
    save_tensors(path / "backbone.safetensors", backbone_tensors("alex")[1])
    return path


def backbone_tensors(backbone):
    """The package's metric on a random backbone, and that backbone under torchvision's names."""
    metric = lpips.LPIPS(net=backbone, pretrained=True, pnet_rand=True, verbose=False)
    tensors = {f"features.{name.split('.', 1)[1]}": value for name, value in metric.net.state_dict().items()}
    with torch.device("meta"):
        model = torchvision.models.get_model(BACKBONES[backbone], weights=None).state_dict()
    features = {name: value.shape for name, value in model.items() if name.startswith("features.")}
    assert {name: value.shape for name, value in tensors.items()} == features
    return metric, tensors | {"classifier.1.bias": torch.zeros(1)}


@pytest.mark.parametrize(("height", "width"), [(26, 26), (7, 12), (3, 5)])
def test_the_blur_weighs_with_one_two_one_and_keeps_every_second(height, width):
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    found = BlurPool()(x)
    assert found.shape == (2, 3, (height + 1) // 2 + 1, (width + 1) // 2 + 1)
    torch.testing.assert_close(found, blurred(x))


def test_the_blur_of_a_constant_is_that_constant():
    torch.testing.assert_close(BlurPool()(torch.full((1, 2, 9, 8), 0.7)), torch.full((1, 2, 6, 5), 0.7))


def test_the_blur_removes_the_finest_pattern():
    checkers = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    assert BlurPool()(checkers[None, None]).abs().max() == 0


def test_shift_tolerant_alexnet_is_the_published_network(folder):
    x, y = images(3, 3, 30, 30), images(3, 3, 30, 30)
    tensors = load_tensors(folder / "model.safetensors")
    expected = torch.zeros(3, dtype=torch.float64)
    for depth, (a, b) in enumerate(zip(alexnet_features(tensors, x), alexnet_features(tensors, y), strict=True)):
        difference = functional.normalize(a.double()) - functional.normalize(b.double())
        weights = tensors[f"lin{depth}.model.1.weight"].double().flatten()
        expected += torch.einsum("c,bchw->b", weights, difference**2) / difference[0, 0].numel()
    found = build_perceptual("stlpips-alex", 30, folder)(x, y)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


def test_shift_tolerant_vgg_is_vgg16_with_blurred_poolings():
    layers = make_layers(cfgs["D"])[:-1]
    trunk = ShiftTolerantTrunk("vgg")
    convolutions = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d)]
    originals = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for ours, original in zip(convolutions, originals, strict=True):
        ours.load_state_dict(original.state_dict())
    x = images(1, 3, 20, 20)
    h, expected = (x - trunk.shift) / trunk.scale, []
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, nn.MaxPool2d):
                expected.append(h)
                h = blurred(functional.max_pool2d(h, 2, stride=1))
            else:
                h = layer(h)
        for found, wanted in zip(trunk(x), [*expected, h], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", ["alex", "squeeze", "vgg"])
def test_lpips_is_that_of_its_package(backbone, tmp_path):
    metric, tensors = backbone_tensors(backbone)
    save_tensors(tmp_path / "backbone.safetensors", tensors)
    distance = build_perceptual(f"lpips-{backbone}", 32, tmp_path)
    x, y = images(2, 3, 32, 32), images(2, 3, 32, 32)
    expected = metric(x, y).flatten()
    assert expected.min() > 1e-3
    torch.testing.assert_close(distance(x, y), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["pixel", "lpips-alex", "stlpips-alex"])
def test_a_distance_is_zero_for_equal_images_positive_and_symmetric(name, folder):
    distance = build_perceptual(name, 32, folder)
    x, y = images(3, 1, 16, 16), images(3, 1, 16, 16)
    assert distance(x, x).tolist() == [0, 0, 0]
    assert distance(x, y).min() > 0
    torch.testing.assert_close(distance(x, y), distance(y, x))
    torch.testing.assert_close(distance(x[:1], y[:1]), distance(x, y)[:1])


@pytest.mark.parametrize("name", ["pixel", "lpips-alex", "stlpips-alex"])
def test_the_gradient_reaches_the_images_and_nothing_else(name, folder):
    distance = build_perceptual(name, 32, folder)
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    x, y = images(2, 1, 16, 16).requires_grad_(), images(2, 1, 16, 16).requires_grad_()
    before = distance(x, y)
    before.sum().backward()
    for image in (x, y):
        assert image.grad.isfinite().all()
        assert (image.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    step = 1e-3 / x.grad.norm()
    slope = (distance(x + step * x.grad, y) - distance(x - step * x.grad, y)).sum() / (2 * step)
    torch.testing.assert_close(slope, x.grad.square().sum(), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["lpips-alex", "stlpips-alex"])
def test_a_grey_image_is_one_with_three_equal_channels(name, folder):
    distance = build_perceptual(name, 32, folder)
    x, y = images(2, 1, 32, 32), images(2, 1, 32, 32)
    torch.testing.assert_close(distance(x, y), distance(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1)))


def test_dead_features_have_a_gradient_of_zero():
    dead = nn.Conv2d(3, 4, 1)
    nn.init.constant_(dead.bias, -100.0)

    class Trunk(nn.Module):
        def forward(self, x):
            return [dead(x).relu()]

    x = images(1, 3, 4, 4).requires_grad_()
    FeatureDistance(Trunk(), [torch.ones(1, 4, 1, 1)], 4)(x, images(1, 3, 4, 4)).sum().backward()
    assert x.grad.abs().max() == 0


def test_the_pixel_distance_is_the_mean_square_without_antialiasing(tmp_path):
    x, y = images(2, 2, 8, 8), images(2, 2, 8, 8)
    expected = ((x - y) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(build_perceptual("pixel", 8, tmp_path)(x, y), expected)
    middles = (x - y)[:, :, [[1], [2], [5], [6]], [1, 2, 5, 6]].reshape(2, 2, 2, 2, 2, 2).mean(dim=(3, 5))
    torch.testing.assert_close(build_perceptual("pixel", 2, tmp_path)(x, y), (middles**2).flatten(1).mean(1))


@pytest.mark.parametrize("name", ["lpips-alex", "stlpips-alex"])
def test_the_smallest_resolution_is_the_smallest(name, folder):
    smallest = SMALLEST_RESOLUTION[name]
    distance = build_perceptual(name, smallest, folder)
    x, y = images(1, 3, 16, 16), images(1, 3, 16, 16)
    assert distance(x, y) > 0
    distance.resolution = smallest - 1
    with pytest.raises(RuntimeError):
        distance(x, y)
    with pytest.raises(ValueError, match=f"resolution {smallest - 1}: {name} needs at least {smallest}"):
        build_perceptual(name, smallest - 1, folder)


def test_errors_name_the_value_the_place_and_the_cure(folder):
    with pytest.raises(ValueError, match="'ssim': take one of pixel, lpips-vgg"):
        build_perceptual("ssim", 32, folder)
    with pytest.raises(ValueError, match=r"backbone\.safetensors is missing, .*lpips-vgg.* fetch"):
        build_perceptual("lpips-vgg", 32, folder / "empty")
    with pytest.raises(ValueError, match=r"model\.safetensors: not the weights of stlpips-vgg; fetch"):
        load_shift_tolerant("vgg", folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"backbone\.safetensors: not the weights of lpips-squeeze; fetch"):
        load_lpips("squeeze", folder / "backbone.safetensors")
    with pytest.raises(ValueError, match="1 or 3 channels, got 2"):
        build_perceptual("stlpips-alex", 32, folder)(images(1, 2, 32, 32), images(1, 2, 32, 32))


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_the_trained_metric_gives_the_authors_numbers(backbone, tmp_path):
    downloads = next((path for path in (downloads_folder(), ROOT / "downloads") if find(STLPIPS_WHEEL, path)), None)
    if downloads is None:
        pytest.skip(f"{STLPIPS_WHEEL.name} is not in downloads/")
    golden = load_tensors(GOLDEN)
    place_perceptual(f"stlpips-{backbone}", downloads, tmp_path / "weights")
    distance = build_perceptual(f"stlpips-{backbone}", 32, tmp_path / "weights")
    found = distance(golden["x"] / 127.5 - 1, golden["y"] / 127.5 - 1)
    torch.testing.assert_close(found, golden[f"stlpips-{backbone}"], rtol=0, atol=1e-6)
