"""The one-step generator before distillation over its timestep t*: one call of the teacher's network, scored.

The choice of `distill.generator_timestep` begins here; what distillation makes of it, `tools.sweep` shows.
"""

from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from dmd.diffusion.generator import Generator
from dmd.models.teacher import Teacher
from dmd.params.config import load_config
from tools.scorer import Scorer


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its teacher stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write.")],
    timesteps: Annotated[str, typer.Option(help="Values of t*, with commas.")] = "200,300,400,500,600,700,800,900,999",
    samples: Annotated[int, typer.Option(help="Samples a row, from the evaluation's noises.")] = 2000,
) -> None:
    """Draw with one call at each timestep and write a table of scores."""
    config = load_config(params)
    scorer = Scorer(config, samples)
    denoiser = Teacher.load(Path("models", config.system, "teacher")).denoiser
    rows: list[dict[str, Any]] = []
    for timestep in (int(value) for value in timesteps.split(",")):
        generator = Generator(denoiser, timestep).to(scorer.device)
        with torch.no_grad():
            rows.append({"generator_timestep": timestep, **scorer.score_model(generator, f"t* = {timestep}")})
    table.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(table, index=False, float_format="%.6g")
    typer.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
