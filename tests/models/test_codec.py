"""The codec: diffusers' own formula with its autoencoders, and what their configs may say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ModelMixin, VQModel
from torch import Tensor

from dmd.models.codec import Codec, LatentCodec, build_codec, load_codec, multiple_of
from dmd.models.codec_configs import check_codec
from dmd.runtime.files import load_json, save_json

SHAPE = (1, 12, 12)
LEVELS: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (4, 8),
    "norm_num_groups": 2,
    "latent_channels": 3,
}


def autoencoder(kind: str = "AutoencoderKL", **changes: Any) -> ModelMixin:
    torch.manual_seed(0)
    known = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}
    return known[kind](**LEVELS | {"scaling_factor": 0.7} | changes).eval()


def images(height: int = 12) -> Tensor:
    return torch.rand(2, 1, height, height, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.maths
def test_latents_are_the_scaled_and_shifted_means() -> None:
    given = autoencoder(shift_factor=0.3)
    codec = LatentCodec(given, SHAPE)
    with torch.no_grad():
        z = codec.encode(images())
        torch.testing.assert_close(z, 0.7 * (given.encode(images()).latent_dist.mean - 0.3))
        torch.testing.assert_close(codec.decode(z), given.decode(z / 0.7 + 0.3).sample)
    assert codec.latent_shape == tuple(z.shape[1:]) == (3, 6, 6)


@torch.no_grad()
def test_many_latents_are_decoded_in_parts_to_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, z = LatentCodec(autoencoder(), SHAPE), torch.randn(5, 3, 6, 6)
    at_once, seen = codec.decode(z), []
    decode = codec.autoencoder.decode
    monkeypatch.setattr(
        codec.autoencoder, "decode", lambda part, **named: seen.append(len(part)) or decode(part, **named)
    )
    monkeypatch.setattr("dmd.models.codec.CHUNK", 2 * 12 * 12 + 5)
    torch.testing.assert_close(codec.decode(z), at_once)
    assert seen == [2, 2, 1]


def test_a_vector_quantised_latent_is_what_comes_before_its_codebook() -> None:
    given = autoencoder("VQModel", vq_embed_dim=5)
    codec = LatentCodec(given, SHAPE)
    with torch.no_grad():
        z = codec.encode(images())
        torch.testing.assert_close(z, 0.7 * given.encode(images()).latents)
        torch.testing.assert_close(codec.decode(z), given.decode(z / 0.7).sample)
    assert codec.latent_shape == tuple(z.shape[1:]) == (5, 6, 6)


def test_images_that_cannot_be_halved_are_padded_by_their_edges_and_cut_again() -> None:
    given, x = autoencoder(), images(11)
    codec = LatentCodec(given, (1, 11, 11))
    padded = torch.cat([x, x[:, :, -1:]], 2)
    padded = torch.cat([padded, padded[..., -1:]], 3)
    with torch.no_grad():
        z = codec.encode(x)
        torch.testing.assert_close(z, LatentCodec(given, SHAPE).encode(padded))
        torch.testing.assert_close(codec.decode(z), LatentCodec(given, SHAPE).decode(z)[..., :11, :11])
    assert codec.latent_shape == tuple(z.shape[1:])


def test_padding_is_on_both_sides() -> None:
    """28 to 32 as MNIST needs it with two halvings and patches of two: two pixels a side."""
    levels = {"block_out_channels": (2, 2, 2), "layers_per_block": 1}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    given, x = autoencoder(**levels, **blocks), images(28)
    codec, whole = LatentCodec(given, (1, 28, 28), 2), LatentCodec(given, (1, 32, 32), 2)
    with torch.no_grad():
        z = codec.encode(x)
        assert codec.latent_shape == tuple(z.shape[1:]) == (3, 8, 8) == whole.latent_shape
        assert torch.equal(codec.decode(z), whole.decode(z)[..., 2:-2, 2:-2])


def test_pixels_are_their_own_latents(tmp_path: Path) -> None:
    codec, x = load_codec(tmp_path, SHAPE), images()
    assert codec.encode(x) is x
    assert codec.decode(x) is x
    assert codec.decoding(model := lambda z, labels: z) is model
    assert codec.comparing(distance := torch.nn.MSELoss()) is distance
    assert codec.decoded_shape == SHAPE
    assert type(codec) is Codec
    assert codec.latent_shape == SHAPE


def test_a_model_of_latents_becomes_one_of_images_and_a_gradient_goes_through(tmp_path: Path) -> None:
    autoencoder().save_pretrained(tmp_path / "codec")
    save_json(tmp_path / "config.json", {"patch_size": 2})
    codec = load_codec(tmp_path, SHAPE)
    z = torch.randn(2, *codec.latent_shape, requires_grad=True)
    x = codec.decoding(lambda z, labels: 2 * z)(z, None)
    torch.testing.assert_close(x, codec.decode(2 * z))
    (gradient,) = torch.autograd.grad(x.square().sum(), z)
    assert gradient.abs().min() > 0
    assert not any(parameter.requires_grad for parameter in codec.parameters())


def described(kind: str = "AutoencoderKL", **changes: Any) -> dict[str, Any]:
    return {"_class_name": kind, **LEVELS, "scaling_factor": 0.7, **changes}


@pytest.mark.parametrize(("kind", "channels"), [("AutoencoderKL", 3), ("VQModel", 5)])
def test_the_config_alone_tells_the_latents_shape(kind: str, channels: int) -> None:
    changes = {"vq_embed_dim": 5} if kind == "VQModel" else {}
    assert check_codec(described(kind, **changes), (1, 11, 12)) == (channels, 6, 6)
    for network, side in (({"patch_size": 4}, 8), ({"block_out_channels": [8, 8]}, 6), ({"block_out_channels": 8}, 6)):
        assert build_codec(autoencoder(kind, **changes), (1, 11, 12), network).latent_shape == (channels, side, side)
        assert check_codec(described(kind, **changes), (1, 11, 12), multiple_of(network)) == (channels, side, side)


def test_the_config_that_diffusers_writes_is_taken(tmp_path: Path) -> None:
    for kind in ("AutoencoderKL", "VQModel"):
        autoencoder(kind).save_pretrained(tmp_path)
        assert check_codec(load_json(tmp_path / "config.json"), SHAPE) == (3, 6, 6)


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (described("AutoencoderTiny"), ["_class_name is AutoencoderTiny", "AutoencoderKL or VQModel"]),
        ({k: v for k, v in described().items() if k != "scaling_factor"}, ["scaling_factor is missing", "write it"]),
        (described(scaling_factor=0), ["scaling_factor is 0", "set teacher.source"]),
        (described(scaling_factor="0.7"), ["scaling_factor is '0.7'", "number"]),
        (described(shift_factor=float("nan")), ["shift_factor is nan", "set teacher.source"]),
        (described(shift_factor=0.06), ["shift_factor is 0.06", "leave out", "set teacher.source"]),
        (described(latents_mean=[0.1]), ["latents_mean is [0.1]"]),
        (described(in_channels=3), ["in_channels is 3", "dataset.image_shape [1, 12, 12] needs 1"]),
        (described(down_block_types=["DownEncoderBlock2D"]), ["down_block_types names 1 blocks, but", "2"]),
        (described(up_block_types=["os.system"] * 2), ["up_block_types", "pattern"]),
        (described(norm_num_groups=3), ["norm_num_groups", "takes images of [1, 12, 12]"]),
        (described(block_out_channels=[2**16, 2**16], norm_num_groups=2), ["parameters", "set teacher.source"]),
        (described("VQModel", lookup_from_codebook=True), ["lookup_from_codebook is true", "set teacher.source"]),
    ],
)
def test_what_does_not_fit_is_refused(config: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"codec's config\.json") as error:
        check_codec(config, SHAPE)
    assert all(part in str(error.value) for part in parts), error.value
