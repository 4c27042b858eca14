"""The large feature nets: downloads as they lie on a server, converted, loaded, and held against other libraries."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch.nn import functional
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from dmd.evaluate.scores import distance_name
from dmd.features.channels import three_channels
from dmd.features.feature_net import load_features
from dmd.features.inception import InceptionV3
from dmd.fetch import sources
from dmd.fetch.downloads import DownloadError, Original
from dmd.fetch.features import check_feature_net, efficientnet_tensors, place_feature_net
from dmd.params.config import load_config
from dmd.runtime.files import file_sha256


def pixels(channels: int) -> torch.Tensor:
    shape = (2, channels, 40, 32)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shuffled(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Random weights under which signals neither die nor explode, with running statistics that are not the default."""
    generator = torch.Generator().manual_seed(1)
    state = net.state_dict()
    for name, value in state.items():
        if value.ndim > 1:
            scale = (2 / value[0].numel()) ** 0.5
            value.copy_(scale * torch.randn(value.shape, generator=generator))
        elif value.is_floating_point():
            low = 0.5 if name.endswith(("weight", "running_var")) else -0.1
            value.uniform_(low, low + 0.5 if low > 0 else 0.1, generator=generator)
    return state


def serve(state: dict[str, torch.Tensor], name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put a state as the original `sources.<name>` into the folder of downloads, with its own hash."""
    original = getattr(sources, name)
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / original.name)
    patch.setattr(sources, name, Original(original.name, "sha256", file_sha256(folder / original.name)))


def efficientnet_names() -> Iterator[str]:
    """Layers of EfficientNet-Lite0 in the file's spelling, in forward order."""
    yield from ("_conv_stem", "_bn0")
    for block in range(16):
        layers = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
        yield from (f"_blocks.{block}.{layer}" for layer in layers[0 if block else 2 :])
    yield from ("_conv_head", "_bn1")


def test_inception_is_that_of_torch_fidelity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {key.removeprefix("body."): value for key, value in shuffled(InceptionV3()).items()}
    state |= {"fc.weight": torch.randn(1008, 2048), "fc.bias": torch.randn(1008)}
    serve(state, "FID_INCEPTION", tmp_path / "downloads", monkeypatch)
    place_feature_net("inception", tmp_path / "downloads", tmp_path / "net")
    net = load_features(tmp_path / "net")
    theirs = FeatureExtractorInceptionV3("x", ["2048"], str(tmp_path / "downloads" / sources.FID_INCEPTION.name))
    with torch.no_grad():
        features, logits = net(pixels(3) / 127.5 - 1)
        (expected,) = theirs(pixels(3))
    assert logits is None
    assert expected.std() > 1e-3
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
    assert distance_name("inception") == "fid"


def test_efficientnet_is_that_of_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0).eval()
    theirs.load_state_dict(shuffled(theirs))
    layers = dict.fromkeys(key.rpartition(".")[0] for key in theirs.state_dict())
    names = dict(zip(layers, efficientnet_names(), strict=True))
    state = {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": v for key, v in theirs.state_dict().items()}
    state |= {"_fc.weight": torch.randn(1000, 1280), "_fc.bias": torch.randn(1000)}
    serve(state, "EFFICIENTNET_LITE0", tmp_path / "downloads", monkeypatch)
    place_feature_net("efficientnet_lite0", tmp_path / "downloads", tmp_path / "net")
    net = load_features(tmp_path / "net")
    x = functional.interpolate(pixels(3).float(), (224, 224), mode="bilinear", align_corners=False)
    with torch.no_grad():
        features, logits = net(pixels(3) / 127.5 - 1)
        expected = theirs((x - 127) / 128)
    assert logits is None
    assert all(
        weight.is_contiguous(memory_format=torch.channels_last) for weight in net.parameters() if weight.ndim == 4
    )
    assert features.shape == (2, 1280)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_other_tensors_and_absent_downloads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tensor '_blocks\.16\._bn1\.bias'"):
        efficientnet_tensors({"_blocks.16._bn1.bias": torch.ones(3)})
    with pytest.raises(ValueError, match=r"no tensor 'layer1\.weight'"):
        efficientnet_tensors({"layer1.weight": torch.ones(3)})
    with pytest.raises(DownloadError, match=r"pt_inception-2015-12-05-6726825d\.pth is not in"):
        place_feature_net("inception", tmp_path, tmp_path / "net")


def test_grey_images_have_three_equal_channels() -> None:
    grey = pixels(1) / 127.5 - 1
    assert torch.equal(three_channels(grey), torch.cat([grey] * 3, dim=1))
    with pytest.raises(ValueError, match="got 2"):
        three_channels(pixels(2) / 127.5 - 1)


def test_every_system_has_a_net_that_takes_its_images() -> None:
    for path in (Path("params.yaml"), *Path("pipelines").glob("*/params.yaml")):
        config = load_config(path)
        dataset = config.dataset
        check_feature_net(config.evaluate.features, dataset.name, dataset.image_shape, dataset.num_classes)
    with pytest.raises(ValueError, match=r"lenet takes images of \[1, 28, 28\].*is \[3, 32, 32\]; take efficientnet"):
        check_feature_net("lenet", "cifar10", (3, 32, 32), None)
    with pytest.raises(ValueError, match=r"tells the classes of fashion_mnist, but dataset.name is mnist"):
        check_feature_net("fashion_lenet", "mnist", (1, 28, 28), 10)
    check_feature_net("lenet", "image_folder", (1, 28, 28), None)
