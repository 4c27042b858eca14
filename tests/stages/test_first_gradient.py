"""At the start both scores are the teacher: without guidance the gradient is zero, in each system's own network."""

from pathlib import Path

import pytest

from dmd.datasets.pairs import PairStore, write_shards
from dmd.distill.distiller import Distiller
from dmd.features.perceptual import build_perceptual
from dmd.models.teacher import Teacher
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.params.config import load_config
from stages.teacher import fresh

ROOT = Path(__file__).resolve().parents[2]
PARAMETERS = {"mnist-small": 645_113, "mnist": 6_585_601, "celeba": 426_691, "cifar10": 35_746_307}
PARAMETERS |= {"mnist-edm": PARAMETERS["mnist-small"], "mnist-latent": 2_123_152}


@pytest.mark.parametrize(
    ("system", "size"), [(system, size) for system in PARAMETERS for size in (1, 2)[system == "cifar10" :]]
)
def test_the_first_matching_gradient_of_the_real_network_is_exactly_zero(
    system: str, size: int, tmp_path: Path
) -> None:
    small = system == "mnist-small"
    config = load_config(ROOT / "params.yaml" if small else ROOT / "pipelines" / system / "params.yaml")
    shape, classes = config.dataset.image_shape, config.dataset.num_classes
    teacher = Teacher.load(ROOT / config.teacher.source) if small else fresh(config)
    assert sum(parameter.numel() for parameter in teacher.backbone.parameters()) == PARAMETERS[system]
    recipe = PairRecipe(
        0, teacher.codec(shape).latent_shape, classes, 1.0, teacher.scheduler_config, "euler", 1, "trailing"
    )
    write_shards(tmp_path, [range(2)], lambda rows: make_pairs(teacher.denoiser, recipe, rows), {})
    plain = config.distill.matching.model_copy(update={"guidance_scale": None})
    changes = {"batch_size": size, "pairs_batch_size": size, "micro_batch_size": None, "matching": plain}
    settings = config.distill.model_copy(update=changes)
    options = {"regression_weight": 0.5, "guidance_scale": 1.0, "num_classes": classes, "seed": 0}
    perceptual = build_perceptual("pixel", 8, tmp_path)
    run = Distiller(teacher.denoiser, PairStore(tmp_path), perceptual, settings, **options)
    batch = run.batch(0)
    x = run.student.generator(batch["z"], batch.get("labels")).detach()
    assert run.image_terms(x.detach(), batch)["distribution_matching"][1].abs().max() == 0
    run.mu_real.load_state_dict({name: value + 0.01 for name, value in run.mu_real.state_dict().items()})
    assert run.image_terms(x.detach(), batch)["distribution_matching"][1].abs().max() > 0
