"""The exported generator draws the generator's images, at any batch size."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dmd.commands.onnx_graph import OnnxGenerator, export_onnx
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from dmd.teacher.network import build_unet

VP = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, 50, dtype=torch.float64))
VE = NoiseSchedule.from_karras(50, 0.002, 80.0, 7.0, 0.25)
LEVELS = torch.linspace(0.01, 0.98, 50, dtype=torch.float64)
FLOW = NoiseSchedule(1 - LEVELS, LEVELS)


@pytest.mark.parametrize(
    ("schedule", "prediction", "classes", "timesteps"),
    [
        (VP, "epsilon", 5, [40]),
        (VP, "epsilon", None, [40]),
        (VP, "v_prediction", 5, [40, 20]),
        (FLOW, "flow", None, [40]),
        (VE, "edm", None, [40, 20]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_onnxruntime_draws_the_same_images(
    schedule: NoiseSchedule, prediction: str, classes: int | None, timesteps: list[int], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    backbone = build_unet((1, 8, 8), classes, (4, 8), 1, (4,), 2).eval()
    generator = Generator(Denoiser(backbone, schedule, prediction), timesteps)
    export_onnx(generator, tmp_path / "generator.onnx", conditional=classes is not None)
    exported = OnnxGenerator(tmp_path / "generator.onnx", threads=1)
    for count in (1, 7):
        z = torch.randn(count, 1, 8, 8)
        eps = [torch.randn(count, 1, 8, 8) for _ in timesteps[1:]]
        labels = None if classes is None else torch.arange(count) % classes
        with torch.no_grad():
            expected = generator(z, labels, eps)
        assert expected.std() > 0.1
        torch.testing.assert_close(exported(z, labels, eps), expected, atol=1e-4, rtol=1e-4)


TALK = """
import sys, torch
from pathlib import Path
from dmd.commands.onnx_graph import OnnxGenerator, export_onnx
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.celeba_unet import CelebAUNet
from dmd.models.teapearce import TeaPearceUNet

path, kind = Path(sys.argv[1]), sys.argv[2]
torch.manual_seed(0)
schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, 50, dtype=torch.float64))
if kind == "teapearce":
    shape, prediction = (1, 28, 28), "epsilon"
    backbone = TeaPearceUNet(width=8, num_class_embeds=4, num_train_timesteps=50)
else:
    shape, prediction = (3, 32, 32), "v_prediction"
    backbone = CelebAUNet(width=8, time_width=8, num_train_timesteps=50)
generator = Generator(Denoiser(backbone.eval(), schedule, prediction), [40])
export_onnx(generator, path, conditional=kind == "teapearce")
exported = OnnxGenerator(path, threads=1)
for count in (1, 3):
    z, labels = torch.randn(count, *shape), torch.arange(count) if kind == "teapearce" else None
    with torch.no_grad():
        expected = generator(z, labels)
    assert expected.std() > 0.1
    torch.testing.assert_close(exported(z, labels), expected, atol=1e-4, rtol=1e-4)
"""


@pytest.mark.parametrize("kind", ["teapearce", "celeba"])
def test_the_talks_networks_are_exported_for_any_batch(kind: str, tmp_path: Path) -> None:
    """In a process of its own: the checks of types that tests install cannot be traced."""
    subprocess.run([sys.executable, "-c", TALK, tmp_path / "generator.onnx", kind], check=True)
