"""Networks of latents: a DiT with classes, a `UNet2DModel` without, each beside its codec."""

from typing import Any

import pytest
import torch
from diffusers import DiTTransformer2DModel, EDMEulerScheduler

from dmd.diffusion.calls import class_embeds
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.guidance import with_guidance
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.compatibility import check_agreement
from tests.models.test_codec import described
from tests.models.test_compatibility import SCHEDULE

SHAPE, LATENT, CLASSES = (1, 16, 16), (3, 8, 8), 5
TINY = {"num_attention_heads": 2, "attention_head_dim": 4, "num_layers": 1, "norm_num_groups": 2, "patch_size": 2}


def dit(out_channels: int | None = 6) -> DiTTransformer2DModel:
    torch.manual_seed(0)
    shape = {"in_channels": 3, "out_channels": out_channels, "sample_size": 8}
    return DiTTransformer2DModel(**TINY, **shape, num_embeds_ada_norm=CLASSES).eval()


def dit_config(**changes: Any) -> dict[str, Any]:
    return {"_class_name": "DiTTransformer2DModel", **dit().config, **changes}


def unet_config(**changes: Any) -> dict[str, Any]:
    blocks = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    shape = {"in_channels": 3, "out_channels": 3, "sample_size": 8, "num_class_embeds": None}
    sizes = {"block_out_channels": [8, 8], "norm_num_groups": 4}
    return {"_class_name": "UNet2DModel", **blocks, **shape, **sizes, **changes}


def agree(
    config: dict[str, Any], classes: int | None, codec: dict[str, Any] | None = None, **asked: Any
) -> dict[str, Any]:
    return check_agreement(config, SCHEDULE, None, SHAPE, classes, codec=codec or described(), **asked)


def test_what_fits_passes() -> None:
    assert agree(dit_config(), CLASSES, guidance_scale=2.0, gradient_checkpointing=True) == SCHEDULE
    assert agree(dit_config(out_channels=None), CLASSES) == SCHEDULE
    assert agree(unet_config(), None) == SCHEDULE


def test_noise_levels_of_edm_in_latents_are_refused() -> None:
    scheduler = {"_class_name": "EDMEulerScheduler", **EDMEulerScheduler().config}
    with pytest.raises(ValueError, match=r"noise levels of EDM in latents, .* set teacher.source"):
        check_agreement(unet_config(), scheduler, None, SHAPE, None, codec=described())


@pytest.mark.maths
def test_guidance_takes_the_row_on_top_of_the_classes_for_none() -> None:
    network, schedule = dit(), NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 100, dtype=torch.float64))
    assert class_embeds(network.config) == CLASSES + 1
    assert len(network.transformer_blocks[0].norm1.emb.class_embedder.embedding_table.weight) == CLASSES + 1
    x_t, t, labels = torch.randn(2, *LATENT), torch.tensor([10, 90]), torch.tensor([0, 4])
    denoiser = Denoiser(network, schedule, "epsilon")
    with torch.no_grad():
        cond, uncond = denoiser(x_t, t, labels), denoiser(x_t, t, torch.full_like(labels, CLASSES))
        found = with_guidance(denoiser, 3.0, CLASSES)(x_t, t, labels)
    assert (cond - uncond).abs().max() > 1e-3
    torch.testing.assert_close(found, uncond + 3 * (cond - uncond))


@pytest.mark.parametrize(
    ("config", "classes", "codec", "parts"),
    [
        (dit_config(), None, None, ["_class_name is DiTTransformer2DModel", "dataset.num_classes None needs UNet2D"]),
        (unet_config(num_class_embeds=6), CLASSES, None, ["_class_name is UNet2DModel", "needs DiTTransformer2DModel"]),
        (dit_config(num_embeds_ada_norm=4), CLASSES, None, ["num_embeds_ada_norm is 4", "dataset.num_classes 5"]),
        (dit_config(in_channels=4), CLASSES, None, ["in_channels is 4", "latents are [3, 8, 8], needs 3"]),
        (dit_config(out_channels=4), CLASSES, None, ["out_channels is 4", "needs 3 or 6"]),
        (dit_config(sample_size=16), CLASSES, None, ["sample_size is 16", "latents are [3, 8, 8], needs 8"]),
        (dit_config(patch_size=3), CLASSES, None, ["sample_size is 8", "latents are [3, 9, 9], needs 9"]),
        (dit_config(norm_type="ada_norm"), CLASSES, None, ["norm_type is 'ada_norm'"]),
        (unet_config(sample_size=None), None, None, ["sample_size is None", "needs 8"]),
        (dit_config(), CLASSES, described(scaling_factor=0), ["scaling_factor is 0"]),
    ],
)
def test_what_does_not_fit_is_refused(
    config: dict[str, Any], classes: int | None, codec: dict[str, Any] | None, parts: list[str]
) -> None:
    with pytest.raises(ValueError, match=r"set teacher\.source") as error:
        agree(config, classes, codec)
    assert all(part in str(error.value) for part in parts), error.value


def test_a_dit_of_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"_class_name is DiTTransformer2DModel, but this pipeline needs UNet2DModel"):
        check_agreement(dit_config(in_channels=1, out_channels=1, sample_size=16), SCHEDULE, None, SHAPE, CLASSES)
