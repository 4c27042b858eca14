"""A file of tensors with ADM's names becomes the network that such a file is of, written out here in its own terms."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, embedding, group_norm, interpolate, linear, silu

from dmd.fetch.adm_checkpoint import convert
from dmd.fetch.teacher import find_teacher
from dmd.models.compatibility import check_agreement
from dmd.runtime.files import save_tensors

BASE, CHANNELS, ATTENDS, CLASSES = 32, (32, 64), (False, True), 3
Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks are not in the checkout."""
    monkeypatch.setenv("DMD_WORK", str(tmp_path / "work"))


class Maker:
    """Random tensors under the names of the published code; norms about one."""

    def __init__(self, dims: int) -> None:
        self.tensors: Tensors = {}
        self.generator, self.ones = torch.Generator().manual_seed(0), (1,) * dims

    def layer(self, name: str, *shape: int, norm: bool = False) -> None:
        scale = 0.1 if norm else sum(shape[1:]) ** -0.5
        self.tensors[f"{name}.weight"] = norm + scale * torch.randn(shape, generator=self.generator)
        self.tensors[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=self.generator)

    def residual(self, name: str, before: int, after: int) -> None:
        self.layer(f"{name}.in_layers.0", before, norm=True)
        self.layer(f"{name}.in_layers.2", after, before, 3, 3)
        self.layer(f"{name}.emb_layers.1", 2 * after, 4 * BASE)
        self.layer(f"{name}.out_layers.0", after, norm=True)
        self.layer(f"{name}.out_layers.3", after, after, 3, 3)
        if before != after:
            self.layer(f"{name}.skip_connection", after, before, 1, 1)

    def attention(self, name: str, channels: int) -> None:
        self.layer(f"{name}.norm", channels, norm=True)
        self.layer(f"{name}.qkv", 3 * channels, channels, *self.ones)
        self.layer(f"{name}.proj_out", channels, channels, *self.ones)


def checkpoint(dims: int = 2, classes: int | None = CLASSES) -> Tensors:
    """Two levels of one block, 32 channels and then 64 with attention."""
    maker, low, high = Maker(dims), *CHANNELS
    maker.layer("time_embed.0", 4 * BASE, BASE)
    maker.layer("time_embed.2", 4 * BASE, 4 * BASE)
    maker.layer("input_blocks.0.0", low, 3, 3, 3)
    maker.residual("input_blocks.1.0", low, low)
    maker.residual("input_blocks.2.0", low, low)
    maker.residual("input_blocks.3.0", low, high)
    maker.attention("input_blocks.3.1", high)
    for name in ("middle_block.0", "middle_block.2"):
        maker.residual(name, high, high)
    maker.attention("middle_block.1", high)
    for number, (before, after) in enumerate([(2 * high, high), (high + low, high), (high + low, low), (2 * low, low)]):
        maker.residual(f"output_blocks.{number}.0", before, after)
        if number < 2:
            maker.attention(f"output_blocks.{number}.1", high)
    maker.residual("output_blocks.1.2", high, high)
    maker.layer("out.0", low, norm=True)
    maker.layer("out.2", 3, low, 3, 3)
    if classes is not None:
        maker.tensors["label_emb.weight"] = torch.randn(classes, 4 * BASE, generator=maker.generator)
    return maker.tensors


class Reference:
    """ADM's forward pass (Dhariwal & Nichol 2021, section 3), on its own names."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]

    def normed(self, name: str, x: Tensor) -> Tensor:
        return group_norm(x, 32, *self.of(name))

    def residual(self, name: str, x: Tensor, time: Tensor, resize: Any = lambda x: x) -> Tensor:
        h = resize(silu(self.normed(f"{name}.in_layers.0", x)))
        h = conv2d(h, *self.of(f"{name}.in_layers.2"), padding=1)
        scale, shift = linear(silu(time), *self.of(f"{name}.emb_layers.1"))[:, :, None, None].chunk(2, dim=1)
        h = silu(self.normed(f"{name}.out_layers.0", h) * (1 + scale) + shift)
        h = conv2d(h, *self.of(f"{name}.out_layers.3"), padding=1)
        skips = f"{name}.skip_connection.weight" in self.tensors
        return h + (conv2d(x, *self.of(f"{name}.skip_connection")) if skips else resize(x))

    def attention(self, name: str, x: Tensor) -> Tensor:
        def pointwise(layer: str, h: Tensor) -> Tensor:
            weight, bias = self.of(f"{name}.{layer}")
            return conv2d(h, weight.reshape(*weight.shape[:2], 1, 1), bias)

        q, k, v = (part.flatten(2) for part in pointwise("qkv", self.normed(f"{name}.norm", x)).chunk(3, dim=1))
        weights = torch.softmax(q.transpose(1, 2) @ k / 64**0.5, dim=-1)  # one head of 64 channels
        return x + pointwise("proj_out", (v @ weights.transpose(1, 2)).reshape(x.shape))

    def __call__(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        frequencies = 10000 ** (-torch.arange(BASE // 2) / (BASE // 2))
        angles = times[:, None] * frequencies
        time = linear(torch.cat([angles.cos(), angles.sin()], dim=1), *self.of("time_embed.0"))
        time = linear(silu(time), *self.of("time_embed.2"))
        time = time if labels is None else time + embedding(labels, self.tensors["label_emb.weight"])
        skips = [conv2d(x, *self.of("input_blocks.0.0"), padding=1)]
        skips.append(self.residual("input_blocks.1.0", skips[-1], time))
        skips.append(self.residual("input_blocks.2.0", skips[-1], time, lambda h: torch.nn.functional.avg_pool2d(h, 2)))
        skips.append(self.attention("input_blocks.3.1", self.residual("input_blocks.3.0", skips[-1], time)))
        h = self.attention("middle_block.1", self.residual("middle_block.0", skips[-1], time))
        h = self.residual("middle_block.2", h, time)
        for number in range(4):
            h = self.residual(f"output_blocks.{number}.0", torch.cat([h, skips.pop()], dim=1), time)
            h = self.attention(f"output_blocks.{number}.1", h) if number < 2 else h
            if number == 1:
                h = self.residual("output_blocks.1.2", h, time, lambda h: interpolate(h, scale_factor=2.0))
        return conv2d(silu(self.normed("out.0", h)), *self.of("out.2"), padding=1)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("labels", [None, torch.tensor([2, 0])])
def test_the_converted_network_is_adm_s(dims: int, labels: Tensor | None) -> None:
    tensors = checkpoint(dims, None if labels is None else CLASSES)
    network = convert(tensors)
    x, times = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([-1500.0, 300.0])
    with torch.no_grad():
        found, expected = network(x, times, class_labels=labels).sample, Reference(tensors)(x, times, labels)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["edm.pt", "edm.safetensors"])
def test_a_file_of_tensors_is_a_teacher(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("pt"):
        torch.save(checkpoint(), path)
    else:
        save_tensors(path, checkpoint())
    for _ in range(2):  # converted, and found again
        teacher = find_teacher(str(path), None, tmp_path / "downloads", 1.0)
        assert teacher is not None
        found = check_agreement(*teacher.configs, None, (3, 8, 8), CLASSES)
        assert (found["prediction_type"], found["time_scale"], found["sigma_max"]) == ("edm", 250.0, 80.0)
        assert teacher.weights()[0].is_file()


class Code:
    """A pickle that calls something when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('the pickle ran')",)


def test_a_pickle_of_code_is_refused_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "edm-cifar10.pkl"
    torch.save({"ema": Code()}, path)
    with pytest.raises(ValueError, match=r"holds more than named tensors.*runs what it holds when it is read.*Take a"):
        find_teacher(str(path), None, tmp_path / "downloads", 1.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "only a Git-LFS pointer"),
        (b"cut", "edm.safetensors: cut"),
    ],
)
def test_a_file_that_is_not_there_in_whole_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "edm.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        find_teacher(str(path), None, tmp_path / "downloads", 1.0)


def drop(tensors: Tensors) -> None:
    del tensors["middle_block.1.qkv.bias"]


def add(tensors: Tensors) -> None:
    tensors["input_blocks.9.0.extra.weight"] = torch.zeros(1)


def rename_all(tensors: Tensors) -> None:
    kept = dict(tensors)
    tensors.clear()
    tensors.update({f"model.{name}": value for name, value in kept.items()})


@pytest.mark.parametrize("change", [drop, add, rename_all])
def test_tensors_of_another_network_are_refused(change: Any) -> None:
    tensors = checkpoint()
    change(tensors)
    with pytest.raises(ValueError, match="not those of an ADM network"):
        convert(tensors)
