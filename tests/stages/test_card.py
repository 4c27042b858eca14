"""The model card's snippet draws from the folder it lies in, whatever the network."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel
from diffusers.utils import dynamic_modules_utils
from huggingface_hub import ModelCard
from PIL import Image

from dmd.models.celeba_unet import CelebAUNet
from dmd.models.pipeline import save_generator
from dmd.models.teapearce import TeaPearceUNet
from dmd.params.config import load_config
from dmd.params.karras import KarrasSchedule
from dmd.report.model_card import model_card
from tests.models.test_codec import autoencoder
from tests.models.test_latent_pipelines import CLASSES
from tests.models.test_latent_pipelines import network as latent_network
from tests.stages.made_up import scores

ROOT = Path(__file__).resolve().parents[2]


def unet2d(num_classes):
    return UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        num_class_embeds=num_classes and num_classes + 1,
    )


BETAS, EDM = dict(DDPMScheduler().config), KarrasSchedule(prediction_type="edm").model_dump()


@pytest.mark.parametrize(
    ("network", "num_classes", "size", "scheduler"),
    [
        (lambda: unet2d(10), 10, 28, BETAS),
        (lambda: unet2d(None), None, 28, BETAS),
        (lambda: TeaPearceUNet(width=8), 10, 28, BETAS),
        (lambda: CelebAUNet(width=8), None, 32, BETAS),
        (lambda: unet2d(10), 10, 28, EDM),
        (lambda: unet2d(None), None, 28, EDM),
    ],
    ids=["unet2d with classes", "unet2d", "teapearce", "celeba", "edm with classes", "edm"],
)
def test_snippet_of_the_card_runs(tmp_path, monkeypatch, network, num_classes, size, scheduler):
    params = load_config(ROOT / "params.yaml").model_dump(mode="json")
    params["dataset"]["num_classes"] = num_classes
    folder = tmp_path / "models" / "mnist-small" / "generator"
    torch.manual_seed(0)
    save_generator(folder, network(), scheduler, 240, num_classes)
    index = json.loads((folder / "model_index.json").read_text())["_class_name"]

    made = scores()
    made["run"] |= {"pipeline": index if isinstance(index, str) else index[-1]}
    card = model_card(params, made, {}, "models/mnist-small/generator")
    snippet = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    with Image.open(tmp_path / "sample.png") as drawn:
        assert drawn.size == (size, size)
        assert np.asarray(drawn).std() > 1
    # The card's way to keep it: a copy draws, and where `save_pretrained` gives another that does, no more is said.
    shutil.copytree(folder, tmp_path / "copied")
    exec(compile(snippet.replace("models/mnist-small/generator", "copied"), "README.md", "exec"), {})
    assert ("copy its folder" in card) == (not isinstance(index, str))
    if isinstance(index, str):
        DiffusionPipeline.from_pretrained(folder).save_pretrained(tmp_path / "saved")
        exec(compile(snippet.replace("models/mnist-small/generator", "saved"), "README.md", "exec"), {})


@pytest.mark.parametrize(("classes", "kind"), [(CLASSES, "DiTPipeline"), (None, "LDMPipeline")])
def test_snippet_of_a_card_of_latents_draws_in_one_step(tmp_path, monkeypatch, classes, kind):
    params, made = load_config(ROOT / "params.yaml").model_dump(mode="json"), scores()
    params["dataset"]["num_classes"] = classes
    made["run"] |= {"pipeline": kind}
    save_generator(tmp_path / "generator", latent_network(classes), BETAS, 240, classes, autoencoder())
    card = model_card(params, made, {}, "generator")
    monkeypatch.chdir(tmp_path)
    exec(compile(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], "README.md", "exec"), names := {})
    assert type(names["pipeline"]).__name__ == kind
    assert names["pipeline"].scheduler.num_inference_steps == 1
    assert "a border around 1 × 28 × 28" in card
    with Image.open(tmp_path / "sample.png") as drawn:
        assert drawn.size == (16, 16)
        assert np.asarray(drawn).std() > 1


@pytest.mark.parametrize(("sets", "said"), [(1, "on 2,000 samples of"), (3, "on 3 disjoint sets of 2,000 samples of")])
def test_card_says_how_many_samples_were_scored(sets, said):
    params, made = load_config(ROOT / "params.yaml").model_dump(mode="json"), scores()
    made["student"] |= {"num_samples": 2000, "num_sets": sets}
    assert said in model_card(params, made, {}, "models/mnist-small/generator")


@pytest.mark.parametrize(
    ("origin", "base"),
    [
        ({"teacher_source": "org/name", "teacher_revision": "a" * 40}, "org/name"),
        ({"teacher_source": "assets/teacher"}, None),  # a folder, though it reads like a hub id
        ({"teacher_source": "train"}, None),
    ],
)
def test_card_claims_no_licence_and_names_a_teacher_of_the_hub(origin, base):
    params, made = load_config(ROOT / "params.yaml").model_dump(mode="json"), scores()
    made["run"] |= origin
    data = ModelCard(model_card(params, made, {}, "models/mnist-small/generator")).data
    assert (data.license, data.license_name, data.license_link) == (None, None, None)
    assert data.base_model == base
    assert data.model_name == "dmd-mnist-small"
    assert {result.task_type for result in data.eval_results} == {"unconditional-image-generation"}
