"""The pipeline folder of a generator of several steps: loaded by the core and by diffusers alone, it draws the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.utils import dynamic_modules_utils
from torch import Tensor

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule, scale
from dmd.models.pipeline import load_generator, save_generator
from dmd.runtime.files import file_sha256, load_json
from tests.models.test_pipeline import scheduler_config, shown, small_unet

SHAPE = (4, 3, 8, 8)
TIMESTEPS = {1: [600], 2: [600, 250], 4: [999, 600, 250, 0]}
CASES = [
    (steps, kind, classes) for steps in TIMESTEPS for kind in ("epsilon", "v_prediction") for classes in (10, None)
]


@pytest.fixture(autouse=True)
def _modules_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipeline code that diffusers loads is copied here, not into the user's cache."""
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


def network(num_classes: int | None) -> UNet2DModel:
    return small_unet(None if num_classes is None else num_classes + 1)


def pipeline_of(folder: Path) -> Any:
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def by_hand(denoiser: Denoiser, timesteps: list[int], labels: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Noises of a torch generator of seed 1, in turn, and the images of them."""
    source = torch.Generator().manual_seed(1)
    noises = [torch.randn(SHAPE, generator=source) for _ in timesteps]
    x_t = noises[0]
    for k, timestep in enumerate(timesteps):
        t = torch.full(SHAPE[:1], timestep)
        if k > 0:
            x_t = scale(x, denoiser.schedule.alpha(t)) + scale(noises[k], denoiser.schedule.sigma(t))
        x = denoiser(x_t, t, labels)
    return noises, x


@torch.no_grad()
@pytest.mark.parametrize(("steps", "kind", "classes"), CASES)
def test_the_folder_draws_what_a_loop_by_hand_draws(tmp_path: Path, steps: int, kind: str, classes: int | None) -> None:
    config, backbone = scheduler_config(kind), network(classes)
    folder = tmp_path / "generator"
    save_generator(folder, backbone, config, TIMESTEPS[steps], classes)
    denoiser = Denoiser(backbone, NoiseSchedule.from_scheduler(DDPMScheduler.from_config(config)), kind)
    labels = None if classes is None else torch.tensor([3, 1, 4, 1])
    noises, expected = by_hand(denoiser, TIMESTEPS[steps], labels)
    loaded = load_generator(folder)
    assert list(loaded.timesteps) == TIMESTEPS[steps]
    tolerance = 2e-3 * float(expected.abs().max())
    torch.testing.assert_close(loaded(noises[0], labels, noises[1:]), expected, rtol=0, atol=tolerance)
    asked: dict[str, Any] = {"generator": torch.Generator().manual_seed(1), "output_type": "pt", "batch_size": 4}
    asked |= {"num_inference_steps": 1} if steps == 1 and classes is None else {}
    asked |= {} if labels is None else {"class_labels": labels.tolist()}
    drawn = pipeline_of(folder)(**asked).images
    torch.testing.assert_close(drawn, shown(expected), rtol=0, atol=1e-3)
    assert shown(expected).std() > 0.05


@torch.no_grad()
@pytest.mark.parametrize("steps", [2, 4])
def test_every_step_calls_the_network_once_at_its_timestep(tmp_path: Path, steps: int) -> None:
    save_generator(tmp_path / "generator", network(10), scheduler_config(), TIMESTEPS[steps], 10)
    for model in (load_generator(tmp_path / "generator"), pipeline_of(tmp_path / "generator")):
        calls: list[int] = []
        unet = model.denoiser.backbone if isinstance(model, Generator) else model.unet
        unet.register_forward_pre_hook(lambda _, args, calls=calls: calls.append(int(args[1].max())))
        if isinstance(model, Generator):
            model(torch.zeros(SHAPE), torch.arange(4))
            assert model.nfe == steps
        else:
            model(class_labels=[0, 1, 2, 3], output_type="pt")
        assert calls == TIMESTEPS[steps]


@torch.no_grad()
def test_a_generator_for_each_image_makes_it_independent_of_the_others(tmp_path: Path) -> None:
    save_generator(tmp_path / "generator", network(10), scheduler_config(), TIMESTEPS[4], 10)
    pipeline = pipeline_of(tmp_path / "generator")

    def draw(seeds: list[int]) -> Tensor:
        sources = [torch.Generator().manual_seed(seed) for seed in seeds]
        return pipeline(class_labels=seeds, generator=sources, output_type="pt").images

    torch.testing.assert_close(draw([5, 2])[1:], draw([2]), rtol=0, atol=1e-4)


def test_one_timestep_as_a_number_and_as_a_list_are_the_same_folder(tmp_path: Path) -> None:
    for classes in (10, None):
        for name, timesteps in {"number": 600, "list": [600]}.items():
            save_generator(tmp_path / name, network(classes), scheduler_config(), timesteps, classes)
        files = sorted(path.relative_to(tmp_path / "list") for path in (tmp_path / "list").rglob("*.*"))
        assert len(files) > 4
        for path in files:
            assert file_sha256(tmp_path / "list" / path) == file_sha256(tmp_path / "number" / path)
        assert not load_json(tmp_path / "list" / "model_index.json").get("later_timesteps")


def test_timesteps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for timesteps in ([1000, 500], [-1]):
        with pytest.raises(ValueError, match=rf"{timesteps[0]} is outside the schedule: 0 … 999"):
            save_generator(tmp_path / "generator", network(10), scheduler_config(), timesteps, 10)
    assert not (tmp_path / "generator").exists()
