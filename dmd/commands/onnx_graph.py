"""The generator and the teacher's denoiser as ONNX graphs, which onnxruntime runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from dmd.diffusion.calls import class_embeds
from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.generator import Generator
from dmd.types import Images, Labels


def export_onnx(generator: Generator, path: Path, conditional: bool) -> None:
    """Write `generator`, on the CPU, to `path`: inputs `z`, `labels` if it is conditional, `eps_1` …; output `images`.

    A generator of several steps has the noise of each step but the first as a further input, of z's shape. A batch may
    have any size, 1 included.
    """
    z = torch.zeros(2, *image_shape(generator))
    labels = {"labels": torch.zeros(2, dtype=torch.int64)} if conditional else {}
    eps = [torch.zeros_like(z) for _ in range(generator.nfe - 1)]
    batch = {0: torch.export.Dim("batch")}
    inputs = {**labels, "eps": eps}
    shapes = {"z": batch, **dict.fromkeys(labels, batch), "eps": [batch] * len(eps)}
    names = ["z", *labels, *(f"eps_{k}" for k in range(1, generator.nfe))]
    torch.onnx.export(
        generator.eval(),
        (z,),
        path,
        kwargs=inputs,
        input_names=names,
        output_names=["images"],
        dynamic_shapes=shapes,
        external_data=False,
        verbose=False,
    )


def export_denoiser(denoiser: BaseDenoiser, shape: Sequence[int], path: Path, conditional: bool) -> None:
    """Write one call of `denoiser`, guidance included, on the CPU, to `path`, for one image of `shape`.

    Inputs `x_t`, `t` and `labels` if it is conditional; output `images`, the x0.
    """
    whole = torch.zeros(1, dtype=torch.int64)
    inputs = {"x_t": torch.zeros(1, *shape), "t": whole} | ({"labels": whole.clone()} if conditional else {})
    torch.onnx.export(
        denoiser.eval(),
        (),
        path,
        kwargs=inputs,
        input_names=list(inputs),
        output_names=["images"],
        external_data=False,
        verbose=False,
    )


def image_shape(generator: Generator) -> tuple[int, ...]:
    """[C, H, W] of the network's images."""
    backbone: Any = generator.denoiser.backbone
    size = backbone.config.sample_size
    return (backbone.config.in_channels, *((size, size) if isinstance(size, int) else tuple(size)))


def is_conditional(generator: Generator) -> bool:
    """Whether the generator's network takes labels."""
    backbone: Any = generator.denoiser.backbone
    return class_embeds(backbone.config) is not None


class OnnxGenerator:
    """A file of `export_onnx` on the CPU; the same call as the generator's."""

    def __init__(self, path: Path, threads: int) -> None:
        """Open the file; `threads` work on each operator."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, z: Images, labels: Labels | None = None, eps: Sequence[Images] = ()) -> Images:
        """Images from noise `z` ~ N(0, I), and `eps` of the further steps, on the CPU."""
        inputs = {"z": z.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
        inputs |= {f"eps_{k}": noise.numpy() for k, noise in enumerate(eps, start=1)}
        return torch.from_numpy(self._session.run(["images"], inputs)[0])
