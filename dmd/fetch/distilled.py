"""Models that were distilled already: no teachers, since they do not give the mean of clean images at a noisy one.

Distribution matching compares E[x0 | x_t] of two networks (Yin et al. 2024, section 3.2); these give another image.
"""

import re
from collections.abc import Mapping
from typing import Any

OF_PIPELINES = ("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline")
OF_SCHEDULERS = ("LCMScheduler", "TCDScheduler")

MADE_OF = {
    "stabilityai/sd-turbo": "Stable Diffusion 2.1",
    "SimianLuo/LCM_Dreamshaper_v7": "Dreamshaper v7",
}
"""Well-known ones on the Hub, and the models that they were distilled from, by their cards."""

NAMED = re.compile(r"(?<![a-z])(turbo|lcm|lightning|consistency)(?![a-z])", re.IGNORECASE)
"""Words in the names of others on the Hub."""


def refuse_distilled_name(name: str) -> None:
    """For a hub id, before anything is downloaded.

    Raises:
        ValueError: it is of a model that was distilled; says what to take instead.
    """
    if name in MADE_OF or NAMED.search(name.partition("/")[2].replace("_", "-")):
        instead = MADE_OF.get(name, "the model that it was distilled from")
        raise ValueError(
            f"teacher.source {name!r} was distilled itself, and is no teacher; take {instead}, or if the name "
            "misleads, give its folder"
        )


def refuse_distilled(index: Mapping[str, Any], scheduler_config: Mapping[str, Any]) -> None:
    """For what a pipeline and its scheduler say of themselves.

    Raises:
        ValueError: they are a consistency model's; says what to take instead.
    """
    for file, found, distilled in (
        ("model_index.json", index, OF_PIPELINES),
        ("scheduler_config.json", scheduler_config, OF_SCHEDULERS),
    ):
        name = found.get("_class_name")
        if name in distilled:
            raise ValueError(
                f"{file}: _class_name is {name}: the model was distilled itself, and is no teacher; set teacher.source "
                "to the model that it was distilled from"
            )
