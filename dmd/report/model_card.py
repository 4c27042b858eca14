"""The model card: the generator's figures, and a snippet that draws from its folder."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCardData

from dmd.report.page import format_number
from dmd.report.tables import distance_key, parameter_table, score_table

CONDITIONAL = """from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)
images = pipeline(class_labels={labels}).images
images[0].save("sample.png")"""

STOCK = """from diffusers import {kind}

pipeline = {kind}.from_pretrained("{folder}")
images = pipeline(batch_size=10, num_inference_steps=1).images
images[0].save("sample.png")"""

DIT = """from diffusers import DiTPipeline

pipeline = DiTPipeline.from_pretrained("{folder}")
images = pipeline(class_labels={labels}, guidance_scale=1.0, num_inference_steps=1).images
images[0].save("sample.png")"""

TEXT = """from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("{folder}")
images = pipeline("a photo of a cat", num_inference_steps=1, guidance_scale=0.0).images
images[0].save("sample.png")"""

EDM = """from diffusers import ConsistencyModelPipeline

pipeline = ConsistencyModelPipeline.from_pretrained("{folder}")
images = pipeline(batch_size={count}{classes}).images
images[0].save("sample.png")"""

COPY = "To keep or pass on the generator, copy its folder: `save_pretrained` leaves its code out."

HOW_CONDITIONAL = (
    "`class_labels` is a class for all images or one for each, 0 … {last}; `batch_size`, `generator` and `latents` are "
    "as usual. `trust_remote_code` lets diffusers run `one_step.py`, the short file in that folder. " + COPY
)

UNCONDITIONAL = """from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)
images = pipeline(batch_size=10).images
images[0].save("sample.png")"""

HOW_UNCONDITIONAL = (
    "`batch_size`, `generator` and `latents` are as usual. `trust_remote_code` lets diffusers run the folder's "
    "files: the pipeline, and its network where diffusers does not have it. " + COPY
)

HOW_STOCK = (
    "The scheduler saved here ends at the generator's timestep, so one step of DDIM is the whole way to the image; "
    "more steps than one are not what it was trained for."
)

HOW_LATENT = (
    HOW_STOCK + " Its images may have a border around {shape}, to sides that the autoencoder can halve; the "
    "figures are without it."
)

HOW_EDM = (
    "The pipeline's one step goes all the way to the image; more steps than one are not what it was trained for. A "
    "model with classes takes `batch_size` of them as the list `class_labels`."
)

TASKS = {"StableDiffusionPipeline": "text-to-image"}
"""The Hub's names of what pipelines do; the others draw unconditionally, as it has no name for classes."""

BY_PIPELINE = {
    "DDIMPipeline": (STOCK, HOW_STOCK),
    "ConsistencyModelPipeline": (EDM, HOW_EDM),
    "DiTPipeline": (DIT, HOW_LATENT),
    "LDMPipeline": (STOCK, HOW_LATENT),
    "StableDiffusionPipeline": (TEXT, HOW_LATENT),
}
"""Snippet and explanation of diffusers' own pipelines; the others are by whether there are classes."""

CARD = """---
{front}
---

# {title}

A generator that draws {what} with {calls} of its network, distilled from a diffusion model of many steps by
distribution matching distillation (Yin et al., CVPR 2024, arXiv 2311.18828).

```python
{snippet}
```

{how}

## Figures

Measured on {num_samples} of each model from the same noises: means, with standard deviations
over sets; `nfe` is the number of network calls for an image. The last row is what real images reach that were not used
for training.

{scores}

`{distance}` is a Fréchet distance to the training images, lower is better. Only the name `fid` stands for the Inception
network's; a distance in other features carries their name, and the two cannot be compared.

## How it was made

{parameters}

{hashes}
## Limits

It draws what the teacher can draw, at the teacher's size of {shape}, and nothing else.

This card grants no licence: what may be done with the generator follows from those of the teacher and of the images.
"""


def model_card(params: Mapping[str, Any], scores: Mapping[str, Any], training: Mapping[str, Any], folder: str) -> str:
    """The text of the card, Markdown with the Hub's front matter.

    Args:
        params: the whole params file as nested dictionaries.
        scores: the evaluation's scores, schema of metrics.json.
        training: facts of the distillation.
        folder: the generator's folder, as the snippet names it.

    Raises:
        ValueError: the scores hold no Fréchet distance.
    """
    dataset, distance, steps = params["dataset"], distance_key(scores), len(params["distill"]["generator_timesteps"])
    num_classes, chosen = dataset["num_classes"], " for a prompt" if dataset.get("prompts") else ""
    labels = list(range(num_classes or 0))[:10]
    classes = f", class_labels={labels}" if labels else ""
    snippet, how = (UNCONDITIONAL, HOW_UNCONDITIONAL) if num_classes is None else (CONDITIONAL, HOW_CONDITIONAL)
    kind = scores.get("run", {}).get("pipeline")
    snippet, how = BY_PIPELINE.get(kind, (snippet, how))
    shape = " × ".join(str(size) for size in dataset["image_shape"])
    columns = [distance, "fd_to_teacher", "class_accuracy", "nfe", "seconds_per_image"]
    table = score_table(scores)
    hashes = {key: value for key, value in scores.get("run", {}).items() if isinstance(value, str)}
    return CARD.format(
        front=_front_matter(params, scores, distance).to_yaml(),
        title=f"{params['system']}: {'one' if steps == 1 else steps}-step generator",
        calls="a single call" if steps == 1 else f"{steps} calls",
        what=f"{dataset['name']} images" + (f" of a chosen class (of {num_classes})" if num_classes else chosen),
        snippet=snippet.format(folder=folder, kind=kind, labels=labels, count=len(labels) or 10, classes=classes),
        how=how.format(last=(num_classes or 0) - 1, shape=shape),
        num_samples=_samples(scores["student"]),
        scores=markdown_table(table[[name for name in columns if name in table]]),
        distance=distance,
        parameters=markdown_table(parameter_table(params, training)),
        hashes=markdown_table(pd.DataFrame({"value": hashes})) + "\n" if hashes else "",
        shape=shape,
    )


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown, its index as first column; numbers to four significant digits."""
    return table.map(lambda value: format_number(value).replace("|", r"\|")).to_markdown(disable_numparse=True)


def _samples(student: Mapping[str, Any]) -> str:
    """How many samples the scores are of."""
    count, sets = f"{student['num_samples']:,} samples", student.get("num_sets", 1)
    return count if sets == 1 else f"{sets} disjoint sets of {count}"


def _front_matter(params: Mapping[str, Any], scores: Mapping[str, Any], distance: str) -> ModelCardData:
    """What the Hub reads: library, task, the student's scores, and the teacher where it is the Hub's.

    No licence: that is for the owners of the weights and images to say.
    """
    student, facts, dataset = scores["student"], scores.get("run", {}), params["dataset"]["name"]
    names = [distance, *(name for name in ("class_accuracy", "precision", "recall") if name in student)]
    task = TASKS.get(facts.get("pipeline", ""), "unconditional-image-generation")
    where = {"task_type": task, "task_name": "image generation", "dataset_type": dataset, "dataset_name": dataset}
    return ModelCardData(
        base_model=facts.get("teacher_source") if "teacher_revision" in facts else None,  # only the Hub's have one
        library_name="diffusers",
        pipeline_tag=task,
        tags=["dmd", "distillation", "one-step" if student.get("nfe", 1) == 1 else "few-step"],
        datasets=[dataset],
        model_name=f"dmd-{params['system']}",
        eval_results=[
            EvalResult(**where, metric_type=name, metric_name=name, metric_value=student[name]) for name in names
        ],
    )
