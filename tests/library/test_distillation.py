"""Distillation in memory: it ends where the ODE does, leaves the teacher alone, and takes what the pipeline takes."""

import inspect
import re
from typing import Any

import pytest
import torch
import yaml

import dmd
from dmd.library.distillation import _real
from dmd.params.distill import Distill
from tests.architecture.sources import ROOT
from tests.library.gaussian import MEANS, SCHEDULE, SHAPE, Exact, solution

TEACHER = dmd.OwnTeacher(Exact(), SCHEDULE, SHAPE)
CLASSES = dmd.OwnTeacher(Exact(), SCHEDULE, SHAPE, num_classes=2, null_class=True)
PAIRS = {teacher: dmd.draw_pairs(teacher, 64, num_steps=25) for teacher in (TEACHER, CLASSES)}
FEW = {"batch_size": 8, "pairs_batch_size": 8, "warmup_steps": 1, "health_steps": 2}


def test_the_generator_draws_what_the_ode_does_and_the_teacher_stays() -> None:
    before = [parameter.clone() for parameter in TEACHER.network.parameters()]
    state = torch.get_rng_state()
    settings = dmd.default_settings(
        TEACHER, steps=60, learning_rate_generator=0.06, learning_rate_fake=0.06, ema_decay=0.8, **FEW
    )
    distilled = dmd.distill_generator(TEACHER, PAIRS[TEACHER], settings, alpha=1.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(*both) for both in zip(TEACHER.network.parameters(), before, strict=True))
    assert not distilled.generator.training
    assert len(distilled.losses) == 60
    assert distilled.health["step"].tolist() == list(range(0, 60, 2))

    z = torch.randn(500, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = solution(z, torch.full((500,), MEANS[0]))
    start = dmd.Generator(TEACHER.denoiser, settings.generator_timesteps)
    with torch.no_grad():
        errors = [(generator(z) - expected).std().item() for generator in (start, distilled.generator)]
    assert errors[0] > 0.5, "one call of the teacher must be wrong for this to say anything"
    assert errors[1] < 0.2 * errors[0]


def test_the_same_seed_gives_the_same_generator() -> None:
    settings = dmd.default_settings(TEACHER, steps=3, **FEW)
    weights = []
    for seed in (0, 0, 1):
        generator = dmd.distill_generator(TEACHER, PAIRS[TEACHER], settings, seed=seed).generator
        weights.append(torch.cat([tensor.flatten() for tensor in generator.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_classes_and_a_discriminator_of_real_images_in_memory() -> None:
    changes = {"discriminator": {"kind": "convolutional", "weight": 0.1, "width": 8}, "steps": 2, **FEW}
    settings = dmd.default_settings(CLASSES, **changes)
    with pytest.raises(ValueError, match="there are no real images for it"):
        dmd.distill_generator(CLASSES, PAIRS[CLASSES], settings)
    images, labels = torch.rand(20, *SHAPE) * 2 - 1, torch.arange(20) % 2
    with pytest.raises(ValueError, match="labels: the teacher's num_classes is 2"):
        dmd.distill_generator(CLASSES, PAIRS[CLASSES], settings, images=images)
    with pytest.raises(ValueError, match=re.escape("images have the shape (2, 3, 3), the teacher's (2, 3, 4)")):
        dmd.distill_generator(CLASSES, PAIRS[CLASSES], settings, images=images[..., :3], labels=labels)
    distilled = dmd.distill_generator(CLASSES, PAIRS[CLASSES], settings, images=images, labels=labels)
    assert {"discriminator", "adversarial"} <= set(distilled.losses.columns)
    assert distilled.generator(torch.randn(2, *SHAPE), torch.tensor([0, 1])).shape == (2, *SHAPE)


def test_real_images_have_the_labels_of_a_file() -> None:
    labels = torch.arange(20, dtype=torch.int32) % 2
    real = _real(torch.zeros(20, *SHAPE), labels, CLASSES)
    assert real.labels is not None
    assert (real.labels.dtype, real.labels.tolist()) == (torch.int64, labels.tolist())


def test_a_distance_of_ones_own_is_what_the_regression_descends() -> None:
    class Signed(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (x - y).abs().amax(dim=(1, 2, 3)) + 7

    settings = dmd.default_settings(TEACHER, steps=1, **FEW)
    distilled = dmd.distill_generator(TEACHER, PAIRS[TEACHER], settings, perceptual=Signed())
    assert distilled.losses["regression"][0] > 7


def test_the_default_settings_are_those_of_mnist_small_but_for_the_length_and_its_own_guidance() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    expected, teacher = params["distill"], dmd.OwnTeacher(Exact(), SCHEDULE, (1, 28, 28))
    length = {key: expected[key] for key in ("steps", "batch_size", "pairs_batch_size", "history_epochs")}
    guidance = {"guidance_scale": expected["matching"]["guidance_scale"]}
    assert dmd.default_settings(teacher, **length, matching=guidance) == Distill.model_validate(expected)
    assert dmd.default_settings(teacher).matching.guidance_scale is None
    assert inspect.signature(dmd.distill_generator).parameters["alpha"].default == params["alpha"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": 3}, "step Extra inputs are not permitted"),
        ({"steps": 0}, "steps Input should be greater than or equal to 1"),
        ({"matching": {"divergence": "forward_kl"}}, "matching.divergence forward_kl weighs by a discriminator's"),
        ({"generator_timesteps": [100, 200]}, "generator_timesteps [100, 200] do not fall"),
    ],
)
def test_settings_that_are_wrong_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        dmd.default_settings(TEACHER, **changes)
