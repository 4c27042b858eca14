"""A text-to-image system with adapters, from the teacher to a generator that the stock pipelines load in both forms."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from torch import Tensor, nn

pytest.importorskip("peft", reason="needs the extra `text`")

from dmd.models.lora import FOLDER
from dmd.params.config import load_config
from dmd.runtime.files import load_json, load_tensors
from stages import distill
from tests.models.tiny_text import HELD_OUT
from tests.stages.test_fetch import params, root
from tests.stages.test_text_teachers import BASE, LATENT, distilled, teacher_of

__all__ = ["root"]  # a fixture

LORA: dict[str, Any] = {"distill__lora": {"rank": 2}}


def copied(module: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in module.parameters()]


@pytest.mark.parametrize("loss", ["dmd", "sid"])
def test_the_first_gradient_is_zero_and_the_base_stays_the_teacher(root: Path, loss: str) -> None:
    _, config = distilled(root, "epsilon", **LORA, distill__matching__loss=loss, guidance_scale=1.0)
    distiller = distill.prepare(config).distiller
    first = distiller.image_terms(torch.randn(2, *LATENT), distiller.batches.draw(0))
    assert first["distribution_matching"][1].abs().max() == 0
    start = {
        name: [weight.detach().clone() for weight in learner.module.parameters()]
        for name, learner in distiller.learners.items()
    }
    for step in range(2):
        distiller.step(step)
    for name, learner in distiller.learners.items():
        assert not all(map(torch.equal, start[name], copied(learner.module))), name
    base, teacher = distiller.student.backbone.base, teacher_of(root, config).backbone.state_dict()
    kept = {name.replace(".base_layer", ""): weight for name, weight in base.named_parameters() if "lora" not in name}
    assert all(torch.equal(weight, teacher[name]) for name, weight in kept.items())
    assert kept.keys() == teacher.keys()
    names = {name for module in distiller.state.modules.values() for name in module.state_dict()}
    assert all(name.startswith("weights.") for name in names), "a checkpoint holds adapters alone"


def test_the_generator_loads_as_a_pipeline_and_as_an_adapter(root: Path) -> None:
    rates = {"distill__warmup_steps": 0, "distill__learning_rate_generator": 0.05}
    stock, config = distilled(root, "epsilon", **LORA, **rates, guidance_scale=3.0)
    distill.main(config)
    folder = root / "models" / config.system / "generator"
    adapter = load_tensors(folder / FOLDER / "pytorch_lora_weights.safetensors")
    assert all(tensor.abs().max() > 1e-3 for tensor in adapter.values())
    whole = DiffusionPipeline.from_pretrained(folder)
    stock.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    stock.load_lora_weights(folder / FOLDER)
    asked: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 0.0, "output_type": "pt"}
    images = []
    for drawing in (whole, stock):
        drawing.set_progress_bar_config(disable=True)
        images.append(drawing(HELD_OUT, generator=torch.Generator().manual_seed(0), **asked).images)
    torch.testing.assert_close(*images, rtol=0, atol=1e-5)
    facts = load_json(root / "data" / config.system / "training" / "training.json")
    assert facts["parameters"] == sum(weight.numel() for weight in whole.unet.parameters())


@pytest.mark.parametrize("key", ["gradient_checkpointing", "compile"])
def test_what_adapters_cannot_do_is_refused(root: Path, key: str) -> None:
    with pytest.raises(ValueError, match=rf"distill: {key} true counts on a network for each of the three"):
        load_config(params(root, **{**BASE, **LORA, f"distill__{key}": True}))


def test_adapters_of_another_network_are_refused_at_the_start(root: Path) -> None:
    with pytest.raises(ValueError, match=r"distill.lora .*adapts a teacher that is told prompts; set it to null"):
        load_config(params(root, **LORA))


def test_what_adapters_need_is_looked_for_in_the_params(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmd.params.config.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"distill.lora needs peft; install the extra `text`"):
        load_config(params(root, **BASE | LORA))
