"""A text-to-image teacher from a stock pipeline's folder: fetch, teacher, pairs, distillation, generator, evaluation.

The networks have initial weights and the tokenizer a vocabulary of letters: this tells of plumbing, not of quality. The
truth of the pairs is diffusers' own DDIM with the stock pipeline's encoding, and two calls a step for guidance.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.generator import Generator
from dmd.diffusion.prompts import evaluated_labels
from dmd.models import text
from dmd.models.codec import load_codec
from dmd.models.pipeline import load_generator
from dmd.models.teacher import Teacher
from dmd.params.config import Config, load_config
from dmd.runtime.files import file_sha256, load_json, load_tensors, save_json
from stages import distill, evaluate, fetch, pairs, teacher
from tests.models.tiny_text import HELD_OUT, PROMPTS, SCALE, pipeline
from tests.stages.test_fetch import params, root
from tests.stages.test_latent_teachers import BASE as OF_LATENTS
from tests.stages.test_latent_teachers import HEARD, STEPS

__all__ = ["root"]  # a fixture

T_STAR = 900
SHAPE, LATENT = (1, 28, 28), (4, 16, 16)  # three halvings in all: padded to 32
BASE = OF_LATENTS | {
    "dataset__num_classes": None,
    "dataset__prompts": "prompts.csv",
    "distill__generator_timesteps": [T_STAR],
}


def write(root: Path, prediction_type: str = "epsilon") -> StableDiffusionPipeline:
    """The stock pipeline's folder, and the prompts."""
    stock = pipeline(prediction_type, channels=1, side=16)
    stock.save_pretrained(root / "given")
    lines = [f"{prompt},train" for prompt in PROMPTS] + [f"{prompt},test" for prompt in HELD_OUT]
    (root / "prompts.csv").write_text("\n".join(["prompt,split", *lines]), encoding="utf-8")
    return stock


def distilled(root: Path, prediction_type: str, **changes: Any) -> tuple[StableDiffusionPipeline, Config]:
    """The stock pipeline, and the params of the system that the first three stages made of it."""
    stock = write(root, prediction_type)
    config = load_config(params(root, **BASE, **changes))
    for stage in (fetch, teacher, pairs):
        stage.main(config)
    return stock, config


def teacher_of(root: Path, config: Config) -> Teacher:
    return Teacher.load(root / "models" / config.system / "teacher")


@torch.no_grad()
def ddim(stock: StableDiffusionPipeline, z: Tensor, prompts: list[str], guidance: float) -> Tensor:
    """Latents by diffusers alone; both halves of guidance in calls of their own."""
    solver = DDIMScheduler.from_config(
        stock.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, steps_offset=0
    )
    solver.set_timesteps(STEPS)
    told, null = (stock.encode_prompt(texts, z.device, 1, False)[0] for texts in (prompts, [""] * len(prompts)))
    x = z
    for t in solver.timesteps:
        cond, uncond = (stock.unet(x, t, encoder_hidden_states=words).sample for words in (told, null))
        x = solver.step(uncond + guidance * (cond - uncond), t, x).prev_sample
    return x


@torch.no_grad()
def decoded(stock: StableDiffusionPipeline, z: Tensor) -> Tensor:
    return stock.vae.decode(z / SCALE).sample[..., 2:-2, 2:-2]


@pytest.mark.parametrize(("prediction_type", "guidance"), [("epsilon", 3.0), ("v_prediction", 1.0)])
def test_from_the_stock_folder_to_a_stock_pipeline(root: Path, prediction_type: str, guidance: float) -> None:
    stock, config = distilled(root, prediction_type, guidance_scale=guidance)
    made, store = teacher_of(root, config), PairStore(root / "data" / config.system / "pairs")
    found = store.read(range(4))
    assert store.image_shape == LATENT
    assert found["label"].tolist() == [0, 1, 2, 0]
    expected = ddim(stock, found["z"], [*PROMPTS, PROMPTS[0]], guidance)
    torch.testing.assert_close(found["x0"], expected, rtol=0, atol=1e-3 * float(expected.abs().max()))

    distill.main(config)
    folder = root / "models" / config.system / "generator"
    drawing = DiffusionPipeline.from_pretrained(folder)
    drawing.set_progress_bar_config(disable=True)
    assert type(drawing) is StableDiffusionPipeline
    z = torch.randn(2, *LATENT)
    asked: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "pt", "latents": z}
    shown = drawing(HELD_OUT, **asked).images[..., 2:-2, 2:-2]
    count, first = evaluated_labels(made.prompts, None)
    assert (count, first) == (2, 4)
    labels = torch.tensor([first, first + 1])
    with torch.no_grad():
        own = load_codec(folder.with_name("teacher"), SHAPE).decode(load_generator(folder, made.prompts)(z, labels))
    torch.testing.assert_close(shown, (own / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)

    models, _ = evaluate.build_models(config, made, z.device)
    truth = decoded(stock, ddim(stock, z, HELD_OUT, guidance))
    with torch.no_grad():
        torch.testing.assert_close(models["student"](z, labels), own, rtol=0, atol=1e-5)
        torch.testing.assert_close(models["teacher"](z, labels), truth, rtol=0, atol=1e-2)
    history = load_tensors(root / "data" / config.system / "training" / "history.safetensors")
    assert history["images_step_00001"].shape[1:] == SHAPE
    provenance = load_json(root / "models" / config.system / "teacher" / "provenance.json")
    encoder = root / "models" / config.system / "teacher" / text.ENCODER / text.WEIGHTS
    assert provenance["text_encoder_sha256"] == file_sha256(encoder)


@pytest.mark.parametrize(("space", "alpha"), [("images", 0.25), ("latents", 0.25), ("images", 0.0)])
def test_the_first_gradient_is_zero_and_the_regression_is_of_the_pairs_prompts(
    root: Path, space: str, alpha: float
) -> None:
    changes: dict[str, Any] = {"distill__perceptual__space": space, "alpha": alpha}
    stock, config = distilled(root, "epsilon", **changes)
    distiller = distill.prepare(config).distiller
    batch, given = distiller.batches.draw(0), Generator(teacher_of(root, config).denoiser, T_STAR)
    assert set(batch["labels"].tolist()) <= set(range(len(PROMPTS)))
    record = distiller.step(0)
    assert record["distribution_matching"] == 0
    if alpha == 0:
        assert record["regression"] == 0
        assert "z_ref" not in batch
        return
    with torch.no_grad():
        sides = [given(batch["z_ref"], batch["labels_ref"]), batch["x_ref"]]
    drawn, wanted = (decoded(stock, x) for x in sides) if space == "images" else sides
    torch.testing.assert_close(record["regression"], (drawn - wanted).square().mean(), rtol=1e-4, atol=1e-6)


def test_a_folder_of_the_stage_teacher_is_taken_again_and_a_null_prompt_is_missed(root: Path) -> None:
    _, config = distilled(root, "epsilon")
    folder = root / "models" / config.system / "teacher"
    folder.rename(root / "again")
    config = load_config(params(root, **{**BASE, "teacher__source": "again", "guidance_scale": 3.0}))
    for stage in (fetch, teacher):
        stage.main(config)
    before, after = (load_file(place / text.ENCODED) for place in (root / "again", folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    del after["null"]
    save_file(after, folder / text.ENCODED)
    with pytest.raises(ValueError, match=r"guidance_scale 3.0 needs the null prompt, .* run the stage `teacher` again"):
        pairs.main(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset__prompts": None}, r"dataset.prompts is null, but the teacher draws by prompts; name a CSV"),
        ({"dataset__prompts": "absent.csv"}, r"dataset.prompts .*absent.csv: cannot be read as CSV"),
        ({"distill__generator_timesteps": [300, 100]}, r"generator_timesteps \[300, 100\].*give one timestep"),
        (HEARD, r"discriminator.kind convolutional.*set it to null"),
        ({"dataset__num_classes": 10}, r"prompts 'prompts.csv' take the place of classes: set num_classes 10 to null"),
        ({"teacher__source": "train"}, r"dataset.prompts 'prompts.csv': the teacher is told no prompts"),
    ],
)
def test_params_that_do_not_fit_are_refused_at_the_start(root: Path, changes: dict[str, Any], message: str) -> None:
    write(root)
    changes = {"teacher__schedule": load_config(params(root)).teacher.schedule.model_dump()} | changes  # type: ignore[union-attr]
    if changes.get("teacher__source") != "train":
        changes["teacher__schedule"] = None
    with pytest.raises(ValueError, match=message):
        fetch.main(load_config(params(root, **{**BASE, **changes})))


def test_prompts_for_a_teacher_of_pixels_are_refused(root: Path) -> None:
    write(root)
    given = {"dataset__prompts": "prompts.csv", "dataset__num_classes": None}
    with pytest.raises(
        ValueError, match=r"dataset.prompts 'prompts.csv': the teacher is told no prompts; set it to null"
    ):
        fetch.main(load_config(params(root, **given)))


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("text_encoder/config.json", r"holds no text_encoder/config.json; name another"),
        ("text_encoder/model.safetensors", r"holds no text_encoder/model.safetensors"),
        ("tokenizer/tokenizer.json", r"holds no tokenizer/vocab.json; name another"),
    ],
)
def test_a_lost_part_is_named(root: Path, lost: str, message: str) -> None:
    write(root)
    (root / "given" / lost).unlink()
    with pytest.raises(ValueError, match=message):
        fetch.main(load_config(params(root, **BASE)))


def test_an_encoder_of_another_width_is_refused(root: Path) -> None:
    write(root)
    path = root / "given/text_encoder/config.json"
    save_json(path, {**load_json(path), "hidden_size": 32})
    with pytest.raises(ValueError, match=r"cross_attention_dim is 16, but the text encoder.*needs 32"):
        fetch.main(load_config(params(root, **BASE)))
