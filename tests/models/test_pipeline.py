"""The saved generator draws with diffusers alone what the core draws."""

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.utils import dynamic_modules_utils

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.pipeline import PARTS, load_generator, one_step_scheduler, save_generator
from dmd.runtime.files import folder_sha256, load_json

TIMESTEP = 600


def scheduler_config(prediction_type="epsilon", **changes):
    return dict(DDPMScheduler(prediction_type=prediction_type, clip_sample=True, **changes).config)


def small_unet(num_class_embeds):
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        norm_num_groups=4,
        num_class_embeds=num_class_embeds,
    ).eval()


class Constant(torch.nn.Module):
    """A network that answers with the same output."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x, t, class_labels, return_dict):
        return (self.output,)


def core_generator(backbone, config, timestep=TIMESTEP):
    schedule = NoiseSchedule.from_scheduler(DDPMScheduler.from_config(config))
    return Generator(Denoiser(backbone, schedule, config["prediction_type"]), timestep)


def noise(count=4):
    return torch.randn((count, 3, 8, 8), generator=torch.Generator().manual_seed(1))


def shown(images):
    return (images / 2 + 0.5).clamp(0, 1)


@pytest.fixture
def modules_cache(tmp_path, monkeypatch):
    """Pipeline code that diffusers loads is copied here, not into the user's cache."""
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.fixture
def conditional(tmp_path, modules_cache):
    backbone = small_unet(11)
    save_generator(tmp_path / "generator", backbone, scheduler_config(), TIMESTEP, num_classes=10)
    return backbone, tmp_path / "generator"


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("timestep", [0, 1, 600, 999])
def test_one_ddim_step_is_the_denoiser_at_t_star(prediction_type, timestep):
    config = scheduler_config(prediction_type)
    z, output = noise(), noise().flip(0)
    scheduler = one_step_scheduler(config, timestep)
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [timestep]

    expected = core_generator(Constant(output), config, timestep)(z)
    for eta in (0.0, 1.0):
        drawn = scheduler.step(output, timestep, z, eta=eta, generator=torch.Generator()).prev_sample
        torch.testing.assert_close(drawn, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_stock_ddim_pipeline_draws_the_unconditional_one_step_image(tmp_path, beta_schedule):
    backbone, config = small_unet(None), scheduler_config(beta_schedule=beta_schedule)
    save_generator(tmp_path, backbone, config, TIMESTEP)

    expected = shown(core_generator(backbone, config)(noise()))
    for loader in (DDIMPipeline, DiffusionPipeline):
        pipeline = loader.from_pretrained(tmp_path)
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline(
            batch_size=4, num_inference_steps=1, generator=torch.Generator().manual_seed(1), output_type="pt"
        ).images
        assert type(pipeline) is DDIMPipeline
        torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1


def test_pipeline_file_draws_the_conditional_one_step_image(conditional):
    backbone, folder = conditional
    labels = torch.tensor([3, 1, 4, 1])
    expected = core_generator(backbone, scheduler_config())(noise(), labels)

    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    for arguments in ({"latents": noise()}, {"generator": torch.Generator().manual_seed(1)}):
        drawn = pipeline(class_labels=labels.tolist(), output_type="pt", **arguments).images
        torch.testing.assert_close(drawn, shown(expected), rtol=0, atol=1e-5)
    torch.testing.assert_close(load_generator(folder)(noise(), labels), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(load_generator(folder)(noise(), labels.flip(0)), expected, atol=1e-4)


def test_labels_default_to_the_classes_in_turn_and_one_label_fits_all(conditional):
    pipeline = DiffusionPipeline.from_pretrained(conditional[1], trust_remote_code=True)

    def draw(**arguments):
        return pipeline(latents=noise(12), output_type="pt", **arguments).images

    assert torch.equal(draw(), draw(class_labels=[*range(10), 0, 1]))
    assert torch.equal(draw(class_labels=7), draw(class_labels=torch.full((12,), 7)))
    images = pipeline(class_labels=2, batch_size=3).images
    assert [image.size for image in images] == [(8, 8)] * 3
    assert pipeline(class_labels=2, output_type="np", return_dict=False)[0].shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_labels": 10}, "0 … 9"),
        ({"class_labels": [1, -1]}, "0 … 9"),
        ({"class_labels": 1.5}, "class_labels 1.5: a class, or a list of one for each image; 0 … 9"),
        ({"class_labels": [[1], [2]]}, r"class_labels \[\[1\], \[2\]\]: a class, or a list"),
        ({"class_labels": [[1], [2, 3]]}, r"class_labels \[\[1\], \[2, 3\]\]: a class, or a list"),
        ({"class_labels": "seven"}, "class_labels 'seven': a class, or a list"),
        ({"class_labels": True}, "class_labels True: a class, or a list"),
        ({"class_labels": []}, r"class_labels \[\]: a class, or a list"),
        ({"batch_size": 0}, "batch_size 0: there must be an image"),
        ({"batch_size": -2}, "batch_size -2: there must be an image"),
        ({"batch_size": 2.0}, "batch_size 2.0 is no whole number"),
        ({"latents": [0.0]}, "latents are no tensor"),
        ({"class_labels": [1, 2, 3], "generator": [torch.Generator()] * 2}, "2 generators for 3 images; give one, or"),
        ({"generator": []}, "0 generators for 1 images"),
        ({"generator": 5}, "generator 5 is no torch.Generator"),
        ({"class_labels": [1, 2], "batch_size": 3}, "numbers of images disagree"),
        ({"latents": torch.zeros(1, 3, 4, 4)}, "shape"),
        ({"output_type": "latent"}, "pil, np or pt"),
    ],
)
def test_wrong_arguments_are_named(conditional, arguments, message):
    pipeline = DiffusionPipeline.from_pretrained(conditional[1], trust_remote_code=True)
    with pytest.raises(ValueError, match=message):
        pipeline(**arguments)


def test_unconditional_pipeline_refuses_labels(tmp_path, modules_cache):
    save_generator(tmp_path / "generator", small_unet(None), scheduler_config(), TIMESTEP)
    pipeline = DiffusionPipeline.from_pretrained(
        tmp_path / "generator", custom_pipeline=str(tmp_path / "generator" / "one_step.py"), trust_remote_code=True
    )
    drawn = pipeline(latents=noise(), output_type="pt").images
    torch.testing.assert_close(drawn, shown(load_generator(tmp_path / "generator")(noise())), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="no classes"):
        pipeline(class_labels=1)


def test_folder_is_safetensors_and_json_alone_and_says_nothing_of_its_origin(tmp_path):
    small_unet(11).save_pretrained(tmp_path / "teacher")
    for name in ("first", "second"):
        backbone = UNet2DModel.from_pretrained(tmp_path / "teacher", low_cpu_mem_usage=False)
        save_generator(tmp_path / name, backbone, scheduler_config(), TIMESTEP, num_classes=10)
    folder = tmp_path / "first"
    assert sorted(path.name for path in folder.iterdir()) == sorted(PARTS)
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".safetensors", ".json", ".py"}
    assert load_json(folder / "model_index.json")["num_classes"] == 10
    assert not any(str(tmp_path) in path.read_text() for path in folder.rglob("*.json"))
    assert folder_sha256(folder) == folder_sha256(tmp_path / "second")


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_timestep_outside_the_schedule_is_refused(tmp_path, timestep):
    with pytest.raises(ValueError, match=f"generator_timestep {timestep} is outside the schedule: 0 … 999"):
        save_generator(tmp_path, small_unet(None), scheduler_config(), timestep)


def test_scheduler_keeps_the_trained_noise_levels():
    scheduler = one_step_scheduler(scheduler_config(beta_schedule="squaredcos_cap_v2"), TIMESTEP)
    trained = DDIMScheduler(beta_schedule="squaredcos_cap_v2")
    assert torch.equal(scheduler.alphas_cumprod, trained.alphas_cumprod[: TIMESTEP + 1])
