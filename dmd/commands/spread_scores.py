"""How sure a score's spread is: the student scored with several seeds, each its own sets, beside all sets together."""

import math
from dataclasses import replace
from typing import Any

import torch

from dmd.commands.arguments import require
from dmd.commands.scorer import Scorer
from dmd.evaluate.scores import distance_name, over_sets
from dmd.models.pipeline import load_generator
from dmd.models.text import load_prompts
from dmd.params.config import Config
from dmd.runtime.places import Places


def spread_rows(config: Config, seeds: int) -> list[dict[str, Any]]:
    """The generator's distance by seed, and over the sets of all `seeds`: mean, standard deviation, and `over_all`.

    `over_all` is a row's standard deviation ÷ that over all sets.

    Raises:
        ValueError: there is no generator yet.
    """
    settings = config.evaluate
    folder = require(Places(config.system).generator, "distill")
    scorer = Scorer(config, settings.num_samples)
    generator = load_generator(folder, load_prompts(Places(config.system).teacher)).to(scorer.device)
    sets: dict[str, list[dict[str, Any]]] = {}
    for seed in range(config.seed + 1, config.seed + 1 + seeds):
        noises = replace(scorer.noises, seed=seed)
        with torch.no_grad():
            sets[str(seed)] = scorer.score_sets(generator, f"seed {seed}", noises, settings.num_sets)
    sets["all"] = [scores for found in sets.values() for scores in found]
    name = distance_name(settings.features)
    columns = [name, f"{name}_std", "num_sets", "num_samples"]
    rows = {seed: over_sets(found) for seed, found in sets.items()}
    true = rows["all"][f"{name}_std"]
    return [
        {
            "seed": seed,
            **{column: row.get(column) for column in columns},
            "over_all": row.get(f"{name}_std", math.nan) / true,
        }
        for seed, row in rows.items()
    ]
