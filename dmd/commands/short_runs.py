"""A table of short distillations: every combination of some params, one row each, scored on a few thousand samples.

The teacher and the pairs are those that `dvc repro` left for the params file; `base` is a hash of that file and of the
teacher, so that rows of others are told apart.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from dmd.commands.overrides import grid, override
from dmd.commands.scorer import Scorer
from dmd.params.config import Config, load_config
from dmd.runtime.files import folder_sha256
from dmd.runtime.work_folder import finish
from stages.distill import prepare


def distil_and_score(config: Config) -> dict[str, Any]:
    """One distillation from start to end; its scores and seconds by name. Nothing of it is kept."""
    run = prepare(config)
    run.run()
    scores = Scorer(config, config.evaluate.num_samples).score_model(run.distiller.generator, "score")
    finish(run.work)
    scores.pop("num_samples")  # a column that the table has
    return {**scores, "seconds": run.seconds}


def base_hash(config: Config) -> str:
    """Eight digits that change with the teacher and the params, but for fetch, evaluate and compilation.

    A precision counts where it is not float32: rows of before there was a choice are of that.
    """
    excluded: dict[str, Any] = {"fetch": True, "evaluate": True, "pairs": {"compile"}, "distill": {"compile"}}
    excluded["teacher"] = {"training": {"mixed_precision"}}  # the weights' hash tells
    if config.distill.mixed_precision is None:
        excluded["distill"] |= {"mixed_precision"}
    values = config.model_dump(mode="json", exclude=excluded)
    values["teacher_sha256"] = folder_sha256(Path("models", config.system, "teacher"))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def main(
    params: Annotated[Path, typer.Argument(help="The params file; its pairs stage has run.")],
    table: Annotated[Path, typer.Argument(help="The CSV to write; rows that it has are not run again.")],
    axis: Annotated[
        list[str], typer.Option(help="key=value,value…; keys `alpha` and `distill.…`; several make a grid.")
    ],
    samples: Annotated[int, typer.Option(help="Samples a row.")] = 2000,
) -> None:
    """Distil once for each combination of the axes and write a table of scores."""
    rows: list[Any] = pd.read_csv(table, dtype={"base": str}).to_dict("records") if table.exists() else []
    base = base_hash(load_config(params))
    for changes in grid(axis):
        foreign = [key for key in changes if key != "alpha" and not key.startswith("distill.")]
        if foreign:
            raise typer.BadParameter(f"{', '.join(foreign)}: teacher and pairs would not follow; use `dvc exp run -S`")
        if "distill.mixed_precision" in changes:
            raise typer.BadParameter("distill.mixed_precision: a process has one precision; use `dvc exp run -S`")
        name = ", ".join(f"{key.removeprefix('distill.')} {value}" for key, value in changes.items())
        key = {"changes": name, "base": base, "samples": samples}
        if any(all(row[column] == value for column, value in key.items()) for row in rows):
            continue
        config = override(params, changes | {"evaluate.num_samples": samples})
        rows.append({**key, **distil_and_score(config)})
        table.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(table, index=False, float_format="%.6g")
        typer.echo(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    typer.run(main)
