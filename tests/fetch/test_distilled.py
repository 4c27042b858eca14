"""Models that were distilled already are refused by name, by pipeline and by scheduler, with what to take instead."""

from pathlib import Path

import pytest

from dmd.fetch.diffusers_layout import Layout
from dmd.fetch.distilled import refuse_distilled_name
from dmd.runtime.files import save_json


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("stabilityai/sd-turbo", "take Stable Diffusion 2.1, or if the name misleads"),
        ("someone/portraits-Turbo-v2", "take the model that it was distilled from"),
        ("someone/lcm_portraits", "take the model that it was distilled from"),
        ("ByteDance/SDXL-Lightning", "take the model that it was distilled from"),
    ],
)
def test_a_name_that_says_so_is_refused_before_a_download(name: str, instead: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}' was distilled itself, and is no teacher; {instead}"):
        refuse_distilled_name(name)


@pytest.mark.parametrize("name", ["google/ddpm-cifar10-32", "turbo/portraits", "someone/turbofan-engines", "a/films"])
def test_other_names_pass(name: str) -> None:
    refuse_distilled_name(name)


@pytest.mark.parametrize(
    ("pipeline", "scheduler", "message"),
    [
        ("LatentConsistencyModelPipeline", "DDIMScheduler", r"model_index.json: _class_name is LatentConsistency"),
        (
            "StableDiffusionPipeline",
            "LCMScheduler",
            r"scheduler_config.json: _class_name is LCMScheduler: .* no teacher",
        ),
    ],
)
def test_a_folder_that_says_so_is_refused(tmp_path: Path, pipeline: str, scheduler: str, message: str) -> None:
    for part in ("unet", "scheduler", "vae", "text_encoder"):
        (tmp_path / part).mkdir()
        save_json(tmp_path / part / "config.json", {})
    save_json(tmp_path / "scheduler/scheduler_config.json", {"_class_name": scheduler})
    save_json(tmp_path / "model_index.json", {"_class_name": pipeline})
    with pytest.raises(ValueError, match=message):
        Layout.find(tmp_path)


def test_the_parts_of_a_text_pipeline_are_found_and_others_refused(tmp_path: Path) -> None:
    for part in ("unet", "scheduler", "vae", "text_encoder"):
        (tmp_path / part).mkdir()
        save_json(tmp_path / part / "config.json", {})
    save_json(tmp_path / "scheduler/scheduler_config.json", {"_class_name": "PNDMScheduler"})
    known = ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "safety_checker", "feature_extractor"]
    index = {"_class_name": "StableDiffusionPipeline", **{part: ["some", "Class"] for part in known}}
    save_json(tmp_path / "model_index.json", index)
    expected = Layout(
        "unet/config.json", "scheduler/scheduler_config.json", "vae/config.json", "text_encoder/config.json"
    )
    assert Layout.find(tmp_path) == expected
    save_json(tmp_path / "model_index.json", {**index, "text_encoder_2": ["some", "Class"]})
    with pytest.raises(ValueError, match=r"has text_encoder_2 besides"):
        Layout.find(tmp_path)
