"""Any `UNet2DModel` of the Hub by one line of params: fetch, teacher, pairs and a step of distillation.

The truth of the pairs is diffusers' own DDIM on the original folder, which knows nothing of this project.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors.torch import load_file
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.fetch.teacher import find_teacher
from dmd.models.teacher import Teacher
from dmd.params.config import load_config
from dmd.runtime.files import load_json
from stages import distill, fetch, pairs, teacher
from tests.fetch.loopback_hub import serve
from tests.stages.test_fetch import params, root

__all__ = ["root"]  # a fixture

BASE = {
    "teacher__schedule": None,
    "dataset__num_classes": None,
    "pairs__count": 4,
    "pairs__batch_size": 3,
    "pairs__solver": "ddim",
    "pairs__num_steps": 4,
    "evaluate__num_steps": 4,
    "distill__generator_timesteps": [300],
    "distill__batch_size": 2,
    "distill__pairs_batch_size": 2,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BRING = """
import sys
from pathlib import Path
from dmd.fetch.teacher import find_teacher, place_teacher
place_teacher(find_teacher(sys.argv[1], None, Path("downloads"), 5.0), Path(sys.argv[2]))
"""
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

CASES: dict[str, dict[str, Any]] = {
    "flat, pickled, names of old diffusers, epsilon, linear, clipped": {
        "parts": ("", ""),
        "old": True,
        "scheduler": {"_class_name": "DDPMScheduler", "clip_sample": True, "variance_type": "fixed_large"},
    },
    "parts, classes and a null class, v, squared cosine": {
        "parts": ("unet/", "scheduler/"),
        "embeds": 11,
        "scheduler": {
            "_class_name": "DDPMScheduler",
            "prediction_type": "v_prediction",
            "beta_schedule": "squaredcos_cap_v2",
        },
    },
    "flat, classes alone, sample, scaled linear, 500 timesteps": {
        "parts": ("", ""),
        "embeds": 10,
        "scheduler": {
            "_class_name": "DDIMScheduler",
            "prediction_type": "sample",
            "beta_schedule": "scaled_linear",
            "beta_start": 8.5e-4,
            "beta_end": 1.2e-2,
            "num_train_timesteps": 500,
            "clip_sample": False,
        },
    },
    "flat, epsilon, squared cosine, clipped": {
        "parts": ("", ""),
        "scheduler": {"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "clip_sample": True},
    },
    "parts, no size of images, epsilon, linear, PNDM": {
        "parts": ("unet/", "scheduler/"),
        "size": None,
        "scheduler": {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "beta_end": 1e-2},
    },
}


def write(folder: Path, parts: tuple[str, str], scheduler: dict[str, Any], **case: Any) -> UNet2DModel:
    """A model folder as the Hub has them; returns its network."""
    torch.manual_seed(0)
    backbone = UNet2DModel(
        sample_size=case.get("size", 28),
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=None,
        num_class_embeds=case.get("embeds"),
    )
    backbone.save_pretrained(folder / parts[0])
    (folder / parts[1]).mkdir(parents=True, exist_ok=True)
    (folder / parts[1] / "scheduler_config.json").write_text(json.dumps(scheduler))
    index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "X"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    if case.get("old"):
        path = folder / parts[0] / "diffusion_pytorch_model.safetensors"
        torch.save({old_name(name): tensor for name, tensor in load_file(path).items()}, path.with_suffix(".bin"))
        path.unlink()
    return backbone.eval()


def old_name(name: str) -> str:
    for new, old in OLD_NAMES.items():
        name = name.replace(f".{new}.", f".{old}.") if "attentions" in name else name
    return name


@torch.no_grad()
def ddim(backbone: UNet2DModel, scheduler: dict[str, Any], z: Tensor, labels: Tensor | None) -> Tensor:
    """Four steps of diffusers, with the checkpoint's own schedule and prediction, without clipping."""
    solver = DDIMScheduler.from_config(scheduler, clip_sample=False, timestep_spacing="trailing", set_alpha_to_one=True)
    solver.set_timesteps(4)
    for t in solver.timesteps:
        z = solver.step(backbone(z, t, class_labels=labels).sample, t, z).prev_sample
    return z


@pytest.mark.parametrize("name", CASES)
def test_one_line_takes_another_teacher(root: Path, name: str) -> None:
    case = CASES[name]
    backbone = write(root / "given", **case)
    classes = case.get("embeds") and 10
    path = params(root, **{**BASE, "dataset__num_classes": classes, "teacher__source": "given"})
    config = load_config(path)
    for stage in (fetch, teacher, pairs):
        stage.main(config)
    models, data = root / "models" / config.system, root / "data" / config.system
    assert load_json(models / "teacher/provenance.json")["source"] == "given"
    assert load_json(models / "teacher/config.json")["sample_size"] in (28, [28, 28])
    assert load_json(models / "teacher/scheduler_config.json")["clip_sample"] is False
    found = PairStore(data / "pairs").read(range(4))
    expected = ddim(backbone, case["scheduler"], found["z"], found["label"] if classes else None)
    torch.testing.assert_close(found["x0"], expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
    run = distill.prepare(config)
    record = run.distiller.step(0)
    assert record["distribution_matching"] == 0
    assert record["regression"] > 0
    assert record["fake"] > 0


@pytest.mark.parametrize("name", list(CASES)[:2])
def test_a_served_hub_gives_the_network_of_the_commit_in_the_source(tmp_path: Path, name: str) -> None:
    """The real client against a Hub on loopback, in both layouts, safetensors and a pickle: the same output."""
    case = CASES[name]
    backbone = write(tmp_path / "hub" / "someone/digits" / COMMIT, **case)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    with serve(tmp_path / "hub") as hub:
        settings = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "home")}
        settings |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-c", BRING, f"someone/digits@{COMMIT}", str(tmp_path / "teacher")]
        done = subprocess.run(command, env={**kept, **settings}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert load_json(tmp_path / "teacher/origin.json") == {"source": "someone/digits", "revision": COMMIT}
    found = Teacher.load(tmp_path / "teacher").backbone.eval()
    x, t = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 400])
    labels = torch.tensor([1, 2]) if case.get("embeds") else None
    with torch.no_grad():
        expected, drawn = (network(x, t, class_labels=labels).sample for network in (backbone, found))
    torch.testing.assert_close(drawn, expected, rtol=0, atol=1e-6)


def test_two_commits_of_one_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{COMMIT}.*teacher.revision {'a' * 40}.*null"):
        find_teacher(f"someone/digits@{COMMIT}", "a" * 40, tmp_path, 5.0)


def test_an_untrained_teacher_is_said_to_be_one_and_is_a_function_of_the_seed(root: Path) -> None:
    config, hashes = load_config(params(root, teacher__source="random")), []
    fetch.main(config)
    for _ in range(2):
        teacher.main(config)
        provenance = load_json(root / "models" / config.system / "teacher/provenance.json")
        assert {"source": "random", "seed": 0, "note": "untrained"}.items() <= provenance.items()
        hashes.append(provenance["sha256"])
    assert hashes[0] == hashes[1]


def test_timesteps_that_do_not_fit_the_checkpoints_schedule_are_refused_before_any_work(root: Path) -> None:
    write(root / "given", ("", ""), {"_class_name": "DDPMScheduler", "num_train_timesteps": 30})
    fitting = {"distill__generator_timesteps": [10], "pairs__num_steps": 5, "evaluate__num_steps": 5}
    fetch.main(load_config(params(root, **{**BASE, **fitting, "teacher__source": "given"})))
    config = load_config(params(root, **{**BASE, "teacher__source": "given"}))
    for stage in (fetch, teacher):
        with pytest.raises(ValueError, match=r"generator_timesteps \[300\] go outside the schedule: 0 … 29"):
            stage.main(config)
