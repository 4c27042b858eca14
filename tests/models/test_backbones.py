"""Every kind of network goes the whole way: teacher folder, pairs, a first gradient of zero, pipeline folder."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline, ModelMixin, UNet2DModel
from diffusers.utils import dynamic_modules_utils
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore, write_shards
from dmd.distill.distiller import Distiller
from dmd.features.perceptual import build_perceptual
from dmd.models.backbones import load_backbone
from dmd.models.compatibility import check_agreement
from dmd.models.pipeline import load_generator, save_generator
from dmd.models.teacher import Teacher
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.params.distill import Distill
from dmd.teacher.network import build_backbone
from dmd.teacher.scheduler import scheduler_config

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
}
UNET = {"kind": "unet2d", "block_out_channels": [4, 8], "layers_per_block": 1, "norm_num_groups": 2}
SYSTEMS: dict[str, dict[str, Any]] = {
    "mnist-small": {"settings": {**UNET, "attention_resolutions": [14]}, "shape": (1, 28, 28), "classes": 10},
    "mnist": {"settings": {"kind": "teapearce", "width": 8}, "shape": (1, 28, 28), "classes": 10, "steps": 400},
    "celeba": {"settings": {"kind": "celeba", "width": 8, "time_width": 64}, "shape": (3, 32, 32), "classes": None},
    "cifar10": {"settings": {**UNET, "attention_resolutions": [16]}, "shape": (3, 32, 32), "classes": None},
}
T_STAR = 300
PARAMS = yaml.safe_load((Path(__file__).resolve().parents[2] / "params.yaml").read_text(encoding="utf-8"))
CHANGES = {"generator_timesteps": (T_STAR,), "steps": 2, "batch_size": 2, "pairs_batch_size": 2, "warmup_steps": 0}
CHANGES |= {"history_epochs": 1, "learning_rate_schedule": "constant"}
CHANGES |= {"matching": PARAMS["distill"]["matching"] | {"guidance_scale": None}}


def network_like_cifar10(backbone: ModelMixin) -> ModelMixin:
    """The same with the settings by which google/ddpm-cifar10-32 differs from diffusers' defaults."""
    changes = {"flip_sin_to_cos": False, "freq_shift": 1, "downsample_padding": 0, "norm_eps": 1e-6}
    return UNet2DModel.from_config({**backbone.config, **changes})


@pytest.fixture(scope="module", params=list(SYSTEMS))
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A teacher with random weights, saved and loaded, and six pairs of it."""
    system, folder = SYSTEMS[request.param], tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    schedule = {**SCHEDULE, "num_train_timesteps": system.get("steps", 1000)}
    embeds = None if system["classes"] is None else system["classes"] + 1
    backbone = build_backbone(system["settings"], schedule, system["shape"], embeds)
    if request.param == "cifar10":
        backbone = network_like_cifar10(backbone)
    Teacher(backbone, scheduler_config(backbone, schedule)).save(folder / "teacher")
    teacher = Teacher.load(folder / "teacher")
    check_agreement(teacher.backbone.config, schedule, schedule, system["shape"], system["classes"])
    recipe = PairRecipe(0, system["shape"], system["classes"], 1.0, teacher.scheduler_config, "euler", 2, "trailing")
    (folder / "pairs").mkdir()
    write_shards(folder / "pairs", [range(6)], lambda rows: make_pairs(teacher.denoiser, recipe, rows), {})
    return {**system, "backbone": backbone, "teacher": teacher, "pairs": PairStore(folder / "pairs")}


def distiller(system: dict[str, Any], guidance_scale: float = 1.0) -> Distiller:
    settings = Distill.model_validate({**PARAMS["distill"], **CHANGES})
    perceptual = build_perceptual("pixel", 8, Path())
    options = {"regression_weight": 0.5, "guidance_scale": guidance_scale, "num_classes": system["classes"], "seed": 0}
    return Distiller(system["teacher"].denoiser, system["pairs"], perceptual, settings, **options)


def heeding_classes(teacher: Teacher) -> Teacher:
    """A copy whose initial weights make more of the class: else its part is lost in rounding."""
    copied = copy.deepcopy(teacher)
    with torch.no_grad():
        for name, parameter in copied.backbone.named_parameters():
            if "class_embed" in name or "contextembed" in name:
                parameter.mul_(30)
    return copied


def statistics(module: nn.Module) -> list[Tensor]:
    """Copies of every buffer: BatchNorm's running means, variances and counts are among them."""
    return [buffer.detach().clone() for buffer in module.buffers()]


def test_the_first_matching_gradient_is_exactly_zero_and_moves_after_a_step(system: dict[str, Any]) -> None:
    run = distiller(system)
    batch = run.batch(0)
    x = run.student.generator(batch["z"], batch.get("labels")).detach()
    assert run.image_terms(x.detach(), batch)["distribution_matching"][1].abs().max() == 0
    networks = run.student.generator, run.mu_real, run.critics.mu_fake
    before = [statistics(module) for module in networks]
    record = run.step(0)
    assert record["distribution_matching"] == 0
    assert run.image_terms(x.detach(), batch)["distribution_matching"][1].abs().max() > 0
    for module, buffers in zip(networks, before, strict=True):
        assert not any(part.training for part in module.modules())
        assert all(torch.equal(old, new) for old, new in zip(buffers, statistics(module), strict=True))


def test_guidance_reaches_the_real_score_alone(system: dict[str, Any]) -> None:
    """At the start the fake score is the plain teacher and the real one the guided teacher."""
    if system["classes"] is None:
        with pytest.raises(ValueError, match=r"guidance_scale 3.0 needs a null class"):
            distiller(system, 3.0)
        return
    run = distiller({**system, "teacher": heeding_classes(system["teacher"])}, 3.0)
    batch = run.batch(0)
    x, t, labels = run.student.generator(batch["z"], batch["labels"]).detach(), batch["t"], batch["labels"]
    with torch.no_grad():
        x_t = run.schedule.add_noise(x, batch["eps"], t)
        plain = run.mu_real.denoiser
        cond, uncond = plain(x_t, t, labels), plain(x_t, t, torch.full_like(labels, system["classes"]))
        real = uncond + 3.0 * (cond - uncond)
        weight = (x - real).abs().mean(dim=(1, 2, 3), keepdim=True) + 1e-6
    gradient = run.image_terms(x, batch)["distribution_matching"][1] * x.numel()
    assert torch.allclose(gradient, (cond - real) / weight, rtol=1e-3, atol=1e-4)
    assert gradient.abs().max() > 1e-2


@torch.no_grad()
def test_a_teacher_comes_back_as_it_was_saved(system: dict[str, Any]) -> None:
    x, t = torch.randn(2, *system["shape"]), torch.tensor([1, T_STAR])
    labels = None if system["classes"] is None else torch.tensor([0, system["classes"]])
    backbone = system["backbone"].eval()
    assert torch.equal(system["teacher"].backbone(x, t, labels).sample, backbone(x, t, labels).sample)
    assert type(system["teacher"].backbone) is type(backbone)


def test_the_pipeline_folder_draws_what_the_core_draws(
    system: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, teacher = tmp_path / "generator", system["teacher"]
    save_generator(folder, teacher.backbone, teacher.scheduler_config, T_STAR, system["classes"])
    z = torch.randn(2, *system["shape"], generator=torch.Generator().manual_seed(1))
    labels = None if system["classes"] is None else torch.tensor([3, 9])
    with torch.no_grad():
        expected = teacher.denoiser(z, torch.full((2,), T_STAR), labels)
        assert (load_generator(folder)(z, labels) - expected).abs().max() < 1e-4
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    arguments: dict[str, Any] = {"generator": torch.Generator().manual_seed(1), "batch_size": 2, "output_type": "pt"}
    if system["classes"] is not None:
        arguments["class_labels"] = labels.tolist()
    if type(pipeline).__name__ == "DDIMPipeline":
        arguments["num_inference_steps"] = 1
    drawn = pipeline(**arguments).images
    assert (drawn - (expected / 2 + 0.5).clamp(0, 1)).abs().max() < 1e-4


def test_an_unknown_class_of_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "UNet3D"}')
    with pytest.raises(ValueError, match="a network of UNet2DModel, TeaPearceUNet, CelebAUNet"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("key", ["num_train_timesteps", "beta_end", "prediction_type", "beta_schedule"])
def test_a_network_made_for_one_schedule_is_refused_another(key: str) -> None:
    schedule = {**SCHEDULE, "num_train_timesteps": 400}
    backbone = build_backbone({"kind": "teapearce", "width": 8}, schedule, (1, 28, 28), 11)
    assert len(scheduler_config(backbone, schedule)["trained_betas"]) == 400
    wrong = {
        "num_train_timesteps": 1000,
        "beta_end": 1e-2,
        "prediction_type": "sample",
        "beta_schedule": "scaled_linear",
    }
    with pytest.raises(ValueError, match=f"teacher.schedule.{key} is {wrong[key]!r}"):
        scheduler_config(backbone, {**schedule, key: wrong[key]})


@pytest.mark.parametrize("classes", [None, 10])
def test_pictures_that_are_no_squares_keep_their_shape_to_the_exported_pipeline(
    tmp_path: Path, classes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The truth is what diffusers draws from the folder when it is told no size."""
    shape = (3, 16, 32)
    backbone = build_backbone({**UNET, "attention_resolutions": []}, SCHEDULE, shape, classes and classes + 1)
    Teacher(backbone, SCHEDULE).save(tmp_path / "teacher")
    teacher = Teacher.load(tmp_path / "teacher")
    check_agreement(teacher.backbone.config, SCHEDULE, SCHEDULE, shape, classes)
    save_generator(tmp_path / "generator", teacher.backbone, SCHEDULE, T_STAR, classes)
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "generator", trust_remote_code=True)
    steps = {} if classes else {"num_inference_steps": 1}
    assert pipeline(batch_size=2, output_type="np", **steps).images.shape == (2, 16, 32, 3)


def test_squares_are_described_by_their_side() -> None:
    assert build_backbone(SYSTEMS["cifar10"]["settings"], SCHEDULE, (3, 32, 32), None).config["sample_size"] == 32
