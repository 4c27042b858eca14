"""Write the generator as one ONNX graph, which onnxruntime draws with."""

from pathlib import Path
from typing import Annotated, Any

import onnxruntime
import torch
import typer

from dmd.diffusion.generator import Generator
from dmd.models.pipeline import load_generator
from dmd.types import Images, Labels


def export_onnx(generator: Generator, path: Path, conditional: bool) -> None:
    """Write `generator`, on the CPU, to `path`: input `z`, `labels` where it is conditional; output `images`.

    A batch may have any size, 1 included.
    """
    backbone: Any = generator.denoiser.backbone
    size = backbone.config.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    inputs: dict[str, torch.Tensor] = {"z": torch.zeros(2, backbone.config.in_channels, *sides)}
    if conditional:
        inputs["labels"] = torch.zeros(2, dtype=torch.int64)
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        generator.eval(),
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=["images"],
        dynamic_shapes={name: {0: batch} for name in inputs},
        external_data=False,
        verbose=False,
    )


class OnnxGenerator:
    """A file of `export_onnx` on the CPU; the same call as the generator's."""

    def __init__(self, path: Path, threads: int) -> None:
        """Open the file; `threads` work on each operator."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, z: Images, labels: Labels | None = None) -> Images:
        """Images from noise `z` ~ N(0, I), on the CPU."""
        inputs = {"z": z.numpy()} | ({} if labels is None else {"labels": labels.numpy()})
        return torch.from_numpy(self._session.run(["images"], inputs)[0])


def main(
    generator: Annotated[Path, typer.Argument(help="The pipeline folder, models/<system>/generator.")],
    path: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
) -> None:
    """Write the generator of a pipeline folder as one ONNX graph: inputs `z` and `labels`, output `images`."""
    loaded = load_generator(generator)
    backbone: Any = loaded.denoiser.backbone
    export_onnx(loaded, path, backbone.config.num_class_embeds is not None)


if __name__ == "__main__":
    typer.run(main)
