"""The exported generator draws the generator's images, at any batch size."""

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
