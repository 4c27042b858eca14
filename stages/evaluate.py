"""Stage `evaluate`: score the teacher, the student before and after, on the same noises, against the real images."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from dmd.datasets.prompts import read_prompts
from dmd.datasets.registry import load_dataset
from dmd.diffusion.generator import Generator
from dmd.diffusion.sampler import count_nfe
from dmd.evaluate.alignment import Alignment
from dmd.evaluate.evaluator import Evaluator
from dmd.evaluate.examples import write_examples
from dmd.evaluate.facts import distill_images_per_second, facts
from dmd.evaluate.latency import latency, median_seconds
from dmd.evaluate.models import many_step_model
from dmd.evaluate.noises import Noises
from dmd.evaluate.setup import Setup
from dmd.evaluate.snapshots import write_curve
from dmd.evaluate.summary_cache import cached_teacher
from dmd.features.clip import load_clip
from dmd.features.perceptual import build_perceptual
from dmd.models.pipeline import load_generator
from dmd.models.teacher import Teacher
from dmd.models.text import TEXTS
from dmd.params.config import Config
from dmd.runtime.files import save_json, whole_folder
from dmd.runtime.places import Places
from dmd.runtime.work_folder import given
from dmd.types import Model
from stages.command import cli

LATENCY_BATCH = 64


def build_models(config: Config, teacher: Teacher, device: torch.device) -> tuple[dict[str, Model], Model]:
    """Teacher, student before and after by name, which draw images; and the teacher as it makes pairs."""
    guided = config.guidance_scale, teacher.num_labels(config.dataset.num_classes), device
    codec = teacher.codec(config.dataset.image_shape).to(device)
    models: dict[str, Model] = {
        "teacher": many_step_model(teacher, config.evaluate, *guided),
        "student_before": Generator(teacher.denoiser, config.distill.generator_timesteps).to(device),
        "student": load_generator(Places(config.system).generator, teacher.prompts).to(device),
    }
    images = {name: codec.decoding(model) for name, model in models.items()}
    return images, many_step_model(teacher, config.pairs, *guided)


def build_evaluator(config: Config, device: torch.device) -> Evaluator:
    """The system's set-up with the perceptual distance of its distillation."""
    places, distance = Places(config.system), config.distill.perceptual
    setup = Setup.load(places, config.dataset, config.evaluate, config.seed, device)
    perceptual = build_perceptual(distance.name, distance.resolution, places.weights("perceptual")).to(device)
    return Evaluator(setup, perceptual, distance.name, config.evaluate.num_sets)


def build_alignment(config: Config, device: torch.device) -> Alignment | None:
    """The score of images beside their prompts; None where no CLIP model is at hand."""
    if config.evaluate.clip is None:
        return None
    prompts = read_prompts(Places(config.system).teacher / TEXTS)
    return Alignment(load_clip(given(Path(config.evaluate.clip))).to(device), prompts.held_out)


def take_times(
    models: Mapping[str, Model], noises: Noises, batch_size: int, accelerator: Accelerator
) -> dict[str, dict[str, float]]:
    """Each model's latency, on the first process: nothing else of the run is busy while it takes them."""
    accelerator.wait_for_everyone()
    timed = models if accelerator.is_main_process else {}
    times = {name: latency(model, noises, batch_size) for name, model in timed.items()}
    accelerator.wait_for_everyone()
    return times


def main(config: Config) -> None:
    """Write data/<system>/evaluation: scores.json, per_class.csv and samples, neighbours, worst as safetensors."""
    accelerator, settings, places = Accelerator(mixed_precision="no"), config.evaluate, Places(config.system)
    teacher = Teacher.load(places.teacher)
    settings.check_timesteps(teacher.scheduler_config["num_train_timesteps"], "evaluate")
    alignment, built = build_alignment(config, accelerator.device), build_models(config, teacher, accelerator.device)
    (models, make_pairs), test = built, load_dataset(config.dataset.name, places.dataset, "test")
    evaluator = build_evaluator(config, accelerator.device)
    run = facts(places, settings, config.distill.perceptual.name, config.seed, accelerator.device)
    timed_batch = min(LATENCY_BATCH, settings.batch_size)
    times = take_times(models, evaluator.noises[0], timed_batch, accelerator)
    solver = settings.model_dump(include={"solver", "num_steps", "timestep_spacing"})
    asked = {"guidance_scale": config.guidance_scale, "image_shape": config.dataset.image_shape}
    keep = partial(cached_teacher, places, solver | asked)
    drawn = {"teacher": evaluator.draw(models["teacher"], "teacher", keep)}
    drawn |= {name: evaluator.draw(models[name], name) for name in ("student_before", "student")}
    if not accelerator.is_main_process:
        return
    nfe = count_nfe(settings.solver, settings.num_steps)
    scores: dict[str, Any] = {"run": run, "latency": times}
    for name, summaries in drawn.items():
        scores[name] = evaluator.score(summaries, None if name == "teacher" else drawn["teacher"])
        scores[name] |= alignment.over_sets(summaries, evaluator.noises) if alignment is not None else {}
        scores[name] |= {
            "nfe": nfe if name == "teacher" else len(config.distill.generator_timesteps),
            "seconds_per_image": times[name]["batch_seconds"] / times[name]["batch_size"],
        }
    drawn["test"] = evaluator.split(*test)
    scores["data"] = {"test": evaluator.score(drawn["test"])}
    scores["speed"] = {
        "teacher_over_student_seconds": scores["teacher"]["seconds_per_image"] / scores["student"]["seconds_per_image"],
        "distill_images_per_second": distill_images_per_second(places),
        "pairs_images_per_second": timed_batch / median_seconds(make_pairs, evaluator.noises[0], timed_batch),
    }
    with whole_folder(places.evaluation) as out:
        shown = evaluator.setup.train, evaluator.setup.pixels, evaluator.noises, evaluator.setup.batch_size
        write_examples(out, models, drawn, *shown)
        write_curve(out / "curve.csv", evaluator.setup, places.training / "snapshots.safetensors")
        save_json(out / "scores.json", scores)


if __name__ == "__main__":
    cli.run(main)
