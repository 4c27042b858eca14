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


@pytest.mark.parametrize(("classes", "timesteps"), [(5, [40]), (None, [40]), (None, [40, 20])])
def test_onnxruntime_draws_the_same_images(classes: int | None, timesteps: list[int], tmp_path: Path) -> None:
    torch.manual_seed(0)
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, 50, dtype=torch.float64))
    backbone = build_unet((1, 8, 8), classes, (4, 8), 1, (4,), 2).eval()
    generator = Generator(Denoiser(backbone, schedule, "epsilon"), timesteps)
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


def test_a_prediction_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, 50, dtype=torch.float64))
    generator = Generator(Denoiser(build_unet((1, 8, 8), None, (4, 8), 1, (4,), 2), schedule, "v_prediction"), [40])
    with pytest.raises(ValueError, match="prediction_type v_prediction cannot be written as ONNX"):
        export_onnx(generator, tmp_path / "generator.onnx", conditional=False)


TALK = """
import sys, torch
from pathlib import Path
from dmd.commands.onnx_graph import OnnxGenerator, export_onnx
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.schedule import NoiseSchedule
from dmd.models.teapearce import TeaPearceUNet

torch.manual_seed(0)
schedule = NoiseSchedule.from_betas(torch.linspace(1e-3, 0.1, 50, dtype=torch.float64))
backbone = TeaPearceUNet(width=8, num_class_embeds=4, num_train_timesteps=50).eval()
generator = Generator(Denoiser(backbone, schedule, "epsilon"), [40])
export_onnx(generator, Path(sys.argv[1]), conditional=True)
exported = OnnxGenerator(Path(sys.argv[1]), threads=1)
assert exported.batch is None
for count in (1, 3):
    z, labels = torch.randn(count, 1, 28, 28), torch.arange(count)
    with torch.no_grad():
        expected = generator(z, labels)
    assert expected.std() > 0.1
    torch.testing.assert_close(exported(z, labels), expected, atol=1e-4, rtol=1e-4)
"""


def test_the_talks_network_is_exported_for_any_batch(tmp_path: Path) -> None:
    """In a process of its own: the checks of types that tests install cannot be traced."""
    subprocess.run([sys.executable, "-c", TALK, tmp_path / "generator.onnx"], check=True)
