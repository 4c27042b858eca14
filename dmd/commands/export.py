"""`dmd export`: the generator for onnxruntime."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    generator: Annotated[Path, typer.Argument(help="The generator's folder.", show_default=False)],
    path: Annotated[Path, typer.Argument(help="The ONNX file to write.", show_default=False)],
) -> None:
    """Write the generator as an ONNX graph, for onnxruntime.

    It draws at any batch size. Its inputs are `z`, noise of N(0, I), and `labels` where there are classes; a generator
    of several steps also has noise for each further one, `eps_1` …. Its output is `images` in [-1, 1].

    \b
    Reads   models/<system>/generator, written by the stage `distill`.
    Writes  the ONNX file, weights inside.
    Example dmd export models/mnist-small/generator generator.onnx
    """
    from dmd.commands.arguments import require
    from dmd.models.latent_pipelines import refuse_latents
    from dmd.models.pipeline import load_generator

    try:
        from dmd.commands.onnx_graph import export_onnx, is_conditional
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; `make setup` brings it") from error

    refuse_latents(require(generator, "distill"))
    loaded = load_generator(generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(loaded, path, is_conditional(loaded))
