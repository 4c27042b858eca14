"""`dmd draw`: its pictures are those that diffusers draws of the same noise, from every kind of source."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, DiffusionPipeline
from diffusers.pipelines.ddim import pipeline_ddim
from PIL import Image
from typer.testing import CliRunner

from dmd.commands.app import app
from dmd.diffusion.generator import Generator
from dmd.diffusion.rng import Stream, sample_noise
from dmd.models.compatibility import training_schedule
from dmd.models.pipeline import save_generator
from dmd.models.teacher import Teacher
from dmd.teacher.network import build_unet
from dmd.teacher.scheduler import canonical_scheduler

ROOT = Path(__file__).resolve().parents[2]
SCHEDULER = {"num_train_timesteps": 100, "beta_end": 0.05, "clip_sample": False}


def network(classes: int | None = None, channels: int = 1, size: int = 8) -> Any:
    torch.manual_seed(0)
    return build_unet((channels, size, size), classes, (4, 8), 1, (), 2).eval()


def noise(count: int, channels: int = 1, size: int = 8, seed: int = 0) -> torch.Tensor:
    return sample_noise(seed, range(count), (channels, size, size), Stream.EVALUATION)


def draw(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["draw", *map(str, arguments)])


def tiles(path: Path, size: int, enlarge: int = 2) -> np.ndarray:
    """The images of a grid row by row, [B, H, W, C] in [0, 1]."""
    with Image.open(path) as picture:
        sheet = np.asarray(picture)[::enlarge, ::enlarge, :-1] / 255
    step = size + 2
    places = [(y, x) for y in range(0, sheet.shape[0], step) for x in range(0, sheet.shape[1], step)]
    return np.stack([sheet[y : y + size, x : x + size] for y, x in places])


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    """A generator with five classes."""
    save_generator(tmp_path / "generator", network(5), SCHEDULER, 40, 5)
    return tmp_path / "generator"


def test_a_generators_grid_is_what_its_pipeline_draws_with_a_class_a_column(generator: Path, tmp_path: Path) -> None:
    result = draw(generator, tmp_path / "new" / "grid.png", "--count", 10, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert "10 of" in result.output
    assert "; 1 network call and " in result.output
    pipeline = DiffusionPipeline.from_pretrained(generator, trust_remote_code=True)
    expected = pipeline(class_labels=[*range(5), *range(5)], latents=noise(10, seed=3), output_type="np").images
    assert expected.std() > 0.1
    with Image.open(tmp_path / "new" / "grid.png") as picture:
        assert picture.size == (2 * (5 * 10 - 2), 2 * (2 * 10 - 2))
    np.testing.assert_allclose(tiles(tmp_path / "new" / "grid.png", 8), expected, rtol=0, atol=0.51 / 255)


def test_single_files_are_named_by_number_and_class(generator: Path, tmp_path: Path) -> None:
    assert draw(generator, tmp_path / "files", "--labels", "4,1", "--count", 3, "--batch-size", 2).exit_code == 0
    names = ["00000-class-4.png", "00001-class-1.png", "00002-class-4.png"]
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == names
    pipeline = DiffusionPipeline.from_pretrained(generator, trust_remote_code=True)
    expected = pipeline(class_labels=[4, 1, 4], latents=noise(3), output_type="np").images
    for name, image in zip(names, expected[..., 0], strict=True):
        with Image.open(tmp_path / "files" / name) as picture:
            assert picture.mode == "L"
            np.testing.assert_allclose(np.asarray(picture) / 255, image, rtol=0, atol=0.51 / 255)


@pytest.mark.parametrize("layout", ["teacher", "pipeline"])
def test_a_model_of_many_steps_is_what_diffusers_draws(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    backbone = network(channels=3)
    if layout == "pipeline":
        DDPMPipeline(backbone, DDPMScheduler(**SCHEDULER)).save_pretrained(folder)
    else:
        Teacher(backbone, SCHEDULER).save(folder)
    result = draw(folder, tmp_path / "grid.png", "--count", 4, "--solver", "ddim", "--steps", 10)
    assert result.exit_code == 0, result.output
    assert "; 10 network calls and " in result.output
    monkeypatch.setattr(pipeline_ddim, "randn_tensor", lambda *_, **__: noise(4, channels=3))
    scheduler = DDIMScheduler(**SCHEDULER, timestep_spacing="trailing")
    expected = DDIMPipeline(backbone, scheduler)(batch_size=4, num_inference_steps=10, output_type="np").images
    assert expected.std() > 0.1
    np.testing.assert_allclose(tiles(tmp_path / "grid.png", 8), expected, rtol=0, atol=0.6 / 255)


def test_a_params_file_names_its_system_with_seed_solver_and_guidance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        (ROOT / "params.yaml").read_text(encoding="utf-8").replace("seed: 0", "seed: 5"), encoding="utf-8"
    )
    backbone = network(11, size=28)
    Teacher(backbone, {"num_train_timesteps": 1000, "clip_sample": False}).save(Path("models/mnist-small/teacher"))
    save_generator(Path("models/mnist-small/generator"), backbone, {"clip_sample": False}, 300, 10)
    for target, more in {"student.png": [], "teacher.png": ["--teacher"], "alone.png": ["--seed", 5]}.items():
        source = "models/mnist-small/teacher" if target == "alone.png" else "params.yaml"
        options = ["--guidance", "1.25", "--steps", 8] if target == "alone.png" else []
        result = draw(source, target, "--count", 10, *more, *options)
        assert result.exit_code == 0, result.output
        assert ("; 1 network call and " if target == "student.png" else "; 8 network calls and ") in result.output
    pipeline = DiffusionPipeline.from_pretrained("models/mnist-small/generator", trust_remote_code=True)
    expected = pipeline(class_labels=list(range(10)), latents=noise(10, size=28, seed=5), output_type="np").images
    np.testing.assert_allclose(tiles(Path("student.png"), 28), expected, rtol=0, atol=0.51 / 255)
    assert Path("teacher.png").read_bytes() == Path("alone.png").read_bytes() != Path("student.png").read_bytes()


@pytest.mark.parametrize(("source", "columns"), [("params.yaml", 10), ("models/mnist-small/generator", 11)])
def test_a_stock_pipeline_with_edms_preconditioning_draws_its_classes(
    source: str, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the params, or of the network where there are none: the null class counts there."""
    monkeypatch.chdir(tmp_path)
    shutil.copy2(ROOT / "params.yaml", "params.yaml")
    schedule = training_schedule({"_class_name": "EDMEulerScheduler"})
    given = Teacher(network(11, size=28), canonical_scheduler(schedule))
    save_generator(Path("models/mnist-small/generator"), given.backbone, given.scheduler_config, 535, 10)
    result = draw(source, "grid.png", "--count", columns, "--columns", columns)
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        drawn = Generator(given.denoiser, 535)(noise(columns, size=28), torch.arange(columns))
    expected = (drawn / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(tiles(Path("grid.png"), 28), expected, rtol=0, atol=0.6 / 255)


@pytest.mark.parametrize("file", ["unet/config.json", "scheduler/scheduler_config.json", "model_index.json"])
@pytest.mark.parametrize("kind", ["generator", "pipeline"])
def test_a_file_that_is_cut_off_is_named(kind: str, file: str, generator: Path, tmp_path: Path) -> None:
    DDPMPipeline(network(), DDPMScheduler(**SCHEDULER)).save_pretrained(tmp_path / "pipeline")
    (tmp_path / kind / file).write_text("{", encoding="utf-8")
    result = draw(tmp_path / kind, tmp_path / "grid.png")
    assert result.exit_code == 1
    assert f"{tmp_path / kind / file} is no JSON" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generator", "x.png", "--labels", "1,5"], "--labels 5: generator has the classes 0 … 4"),
        (["generator", "x.png", "--steps", "4"], "generator: a generator has its own steps and no guidance"),
        (["generator", "x.png", "--teacher"], "--teacher belongs to a params file"),
        (["teacher", "x.png", "--labels", "1"], "teacher has no classes; leave --labels away"),
        (["teacher", "x.png", "--solver", "ddpm"], "--solver ddpm --steps 20: Value error, solver 'ddpm' is ancestral"),
        (["teacher", "x.png", "--steps", "0"], "--solver unipc --steps 0: num_steps Input should be greater than"),
        (["teacher", "x.png", "--steps", "101"], "draw.num_steps 101 is above num_train_timesteps 100"),
        (["teacher", "x.png", "--guidance", "2"], "guidance_scale 2.0 needs a null class"),
        (
            ["latent", "x.png"],
            "latent/model_index.json: has vqvae besides a unet and a scheduler; only models of pixels draw",
        ),
        (["nothing", "x.png"], "nothing: neither a params file nor a folder with the config.json of a network"),
        (["generator", "x.jpg"], "'x.jpg': a file ends in .png; a folder has no ending"),
    ],
)
@pytest.mark.usefixtures("generator")
def test_what_cannot_be_drawn_is_refused_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Teacher(network(), SCHEDULER).save(Path("teacher"))
    parts = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDIMScheduler"]}
    Path("latent").mkdir()
    Path("latent/model_index.json").write_text(json.dumps({**parts, "vqvae": ["diffusers", "VQModel"]}))
    result = draw(*arguments)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())
    assert not Path("x.png").exists()
