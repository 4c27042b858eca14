"""The generator as one ONNX graph, which onnxruntime draws with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from dmd.diffusion.generator import Generator
from dmd.types import Images, Labels


def export_onnx(generator: Generator, path: Path, conditional: bool) -> None:
    """Write `generator`, on the CPU, to `path`: inputs `z`, `labels` if it is conditional, `eps_1` …; output `images`.

    A generator of several steps has the noise of each step but the first as a further input, of z's shape. A batch may
    have any size, 1 included.
    """
    backbone: Any = generator.denoiser.backbone
    size = backbone.config.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    z = torch.zeros(2, backbone.config.in_channels, *sides)
    labels = {"labels": torch.zeros(2, dtype=torch.int64)} if conditional else {}
    eps = [torch.zeros_like(z) for _ in range(generator.nfe - 1)]
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(
        generator.eval(),
        (z,),
        path,
        kwargs={**labels, "eps": eps},
        input_names=["z", *labels, *(f"eps_{k}" for k in range(1, generator.nfe))],
        output_names=["images"],
        dynamic_shapes={"z": batch, **dict.fromkeys(labels, batch), "eps": [batch] * len(eps)},
        external_data=False,
        verbose=False,
    )


def is_conditional(generator: Generator) -> bool:
    """Whether the generator's network takes labels."""
    backbone: Any = generator.denoiser.backbone
    return backbone.config.num_class_embeds is not None


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
