"""Short distillations for a table: each from start to end in this process, scored, and nothing of it kept."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from dmd.commands.arguments import require
from dmd.commands.overrides import override
from dmd.commands.scorer import Scorer
from dmd.commands.table import read_rows, write_rows
from dmd.distill.loop import Distillation
from dmd.params.config import Config, load_config
from dmd.runtime.files import folder_sha256
from dmd.runtime.places import Places
from dmd.runtime.work_folder import alone_in, finish
from stages.distill import prepare

Row = dict[str, Any]

logger = logging.getLogger(__name__)


def check_axes(combinations: Iterable[Mapping[str, Any]]) -> None:
    """Refuse params that a distillation in this process cannot vary.

    Raises:
        typer.BadParameter: names them, and what to do instead.
    """
    for changes in combinations:
        foreign = [key for key in changes if key != "alpha" and not key.startswith("distill.")]
        if foreign:
            raise typer.BadParameter(f"{', '.join(foreign)}: teacher and pairs would not follow; use `dvc exp run -S`")
        if "distill.mixed_precision" in changes:
            raise typer.BadParameter("distill.mixed_precision: a process has one precision; use `dvc exp run -S`")


def distil_and_score(config: Config) -> dict[str, Any]:
    """One distillation from start to end; its scores and seconds by name, none of one whose losses are not finite.

    Nothing of it is kept.
    """
    with distilled(prepare(config)) as run:
        if run is None:
            return {}
        scores = Scorer(config, config.evaluate.num_samples).score_model(run.distiller.student.generator, "score")
    scores.pop("num_samples")  # a column that the table has
    return {**scores, "seconds": run.seconds}


@contextmanager
def distilled(run: Distillation) -> Iterator[Distillation | None]:
    """The run from start to end, or None if a loss is not finite.

    What it has worked goes where the block ends without an error.
    """
    finite = True
    with alone_in(run.work):
        try:
            run.run()
        except FloatingPointError as error:
            logger.warning("no scores: %s", error)
            finite = False
        yield run if finite else None
        finish(run.work)


def base_hash(config: Config) -> str:
    """Eight digits that change with the teacher and the params, but for fetch, evaluate and compilation.

    A precision counts where it is not float32, a space where it is not that of images: rows of before there was a
    choice are of these. Adapters and prompts count where there are some, and which of several steps are matched.
    """
    excluded: dict[str, Any] = {"fetch": True, "evaluate": True, "pairs": {"compile"}, "distill": {"compile": True}}
    excluded["teacher"] = {"training": {"mixed_precision"}, "latent_scale": True, "codec": True}  # the hash tells
    if config.distill.mixed_precision is None:
        excluded["distill"]["mixed_precision"] = True
    if config.distill.perceptual.space != "latents":
        excluded["distill"]["perceptual"] = {"space"}
    if config.distill.lora is None:
        excluded["distill"]["lora"] = True
    if len(config.distill.generator_timesteps) == 1 or config.distill.matched_steps == "all":
        excluded["distill"]["matched_steps"] = True
    if config.dataset.prompts is None:
        excluded["dataset"] = {"prompts"}
    values = config.model_dump(mode="json", exclude=excluded)
    values["teacher_sha256"] = folder_sha256(Places(config.system).teacher)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def fill_table(params: Path, path: Path, combinations: Sequence[Mapping[str, Any]], samples: int) -> list[Row]:
    """Distil with each combination of params that the table of `path` lacks, and add its row; all of its rows.

    Raises:
        ValueError: a combination is refused by the params, before any runs; or there are no pairs yet.
    """
    config = load_config(params)
    configs = [override(params, {**changes, "evaluate.num_samples": samples}) for changes in combinations]
    require(Places(config.system).pairs, "pairs")
    rows, base = read_rows(path, "base"), base_hash(config)
    for changes, changed in zip(combinations, configs, strict=True):
        name = ", ".join(f"{key.removeprefix('distill.')} {value}" for key, value in changes.items())
        key = {"changes": name, "base": base, "samples": samples}
        if any(all(row.get(column) == value for column, value in key.items()) for row in rows):
            continue
        rows.append({**key, **distil_and_score(changed)})
        write_rows(path, rows)
    return rows
