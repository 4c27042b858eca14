"""Stage `evaluate`: score the teacher, the student before and after, on the same noises, against the real images."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from dmd.runtime.files import file_sha256, folder_sha256, load_json, save_json, whole_folder
from dmd.params.config import Config
from dmd.datasets.registry import load_dataset
from dmd.diffusion.denoiser import with_guidance
from dmd.evaluate.evaluator import Evaluator
from dmd.evaluate.examples import write_examples
from dmd.features.feature_net import load_features
from dmd.diffusion.generator import OneStepGenerator
from dmd.evaluate.latency import Model, latency, median_seconds
from dmd.evaluate.noises import Noises
from dmd.features.perceptual import build_perceptual
from dmd.models.pipeline import load_generator
from dmd.evaluate.summary_cache import cached
from dmd.diffusion.sampler import check_steps, count_nfe, sample
from dmd.params.sampling import Sampling
from dmd.evaluate.summaries import Summary, summarise_pixels
from dmd.models.teacher import Teacher
from dmd.types import Images, Labels, Pixels
from stages.command import cli

LATENCY_BATCH = 64


def build_models(config: Config, teacher: Teacher, device: torch.device) -> tuple[dict[str, Model], Model]:
    """Teacher, student before and after by name, and the teacher as it makes pairs: from noises, labels to images."""
    guided = with_guidance(teacher.denoiser, config.guidance_scale, config.dataset.num_classes).to(device)

    def solve(settings: Sampling, z: Images, labels: Labels | None) -> Images:
        solver = settings.solver, settings.num_steps, settings.timestep_spacing
        return sample(guided, z, labels, teacher.scheduler_config, *solver)

    models: dict[str, Model] = {
        "teacher": partial(solve, config.evaluate),
        "student_before": OneStepGenerator(teacher.denoiser, config.distill.generator_timestep).to(device),
        "student": load_generator(Path("models", config.system, "generator")).to(device),
    }
    return models, partial(solve, config.pairs)


def build_evaluator(config: Config, pixels: Pixels, labels: Labels | None, device: torch.device) -> Evaluator:
    """The nets, the real images' summary and the noises."""
    settings, weights = config.evaluate, Path("data", config.system, "weights")
    net = load_features(weights / "features").to(device)
    inputs = [Path("data", config.system, "dataset"), weights / "features"]
    real = partial(summarise_pixels, net, pixels, labels, settings.batch_size, device, max_kept=len(pixels))
    train = cached(inputs, {"name": "train", "dataset": config.dataset.model_dump(mode="json")}, device, real)
    perceptual = config.distill.perceptual
    distance = build_perceptual(perceptual.name, perceptual.resolution, weights / "perceptual").to(device)
    noises = Noises(config.seed, settings.num_samples, config.dataset.image_shape, config.dataset.num_classes, device)
    sets = noises.sets(settings.num_sets)
    return Evaluator(net, settings.features, train, distance, perceptual.name, sets, settings.batch_size)


def keep_teacher(config: Config, noises: Noises, compute: Callable[[], Summary]) -> Summary:
    """The teacher's summary of a set, read if the same teacher drew from the same noises before."""
    settings: dict[str, Any] = config.evaluate.model_dump(include={"solver", "num_steps", "timestep_spacing"})
    settings |= {"name": "teacher", "first": noises.first, "count": noises.count, "seed": noises.seed}
    settings |= {"num_classes": noises.num_classes, "guidance_scale": config.guidance_scale}
    inputs = [Path("models", config.system, "teacher"), Path("data", config.system, "weights", "features")]
    return cached(inputs, settings, noises.device, compute)


def facts(config: Config, device: torch.device) -> dict[str, Any]:
    """What was run, on what."""
    settings, data = config.evaluate, Path("data", config.system)
    origin = load_json(Path("models", config.system, "teacher", "provenance.json"))
    pipeline = load_json(Path("models", config.system, "generator", "model_index.json"))["_class_name"]
    return {
        "features": settings.features,
        "perceptual": config.distill.perceptual.name,
        "num_samples": settings.num_samples,
        "num_sets": settings.num_sets,
        "seed": config.seed,
        "pipeline": pipeline if isinstance(pipeline, str) else pipeline[-1],
        "device": device.type,
        "torch": torch.__version__.split("+")[0],
        **{f"teacher_{key}": origin[key] for key in ("source", "revision", "note") if key in origin},
        "teacher_sha256": folder_sha256(Path("models", config.system, "teacher")),
        "pairs_sha256": file_sha256(data / "pairs" / "manifest.csv"),
        "dataset_sha256": folder_sha256(data / "dataset"),
    }


def main(config: Config) -> None:
    """Write data/<system>/evaluation: scores.json, per_class.csv and samples, neighbours, worst as safetensors."""
    accelerator = Accelerator()
    device, settings, data = accelerator.device, config.evaluate, Path("data", config.system)
    teacher = Teacher.load(Path("models", config.system, "teacher"))
    check_steps(teacher.scheduler_config, settings.solver, settings.num_steps)
    run, (models, make_pairs) = facts(config, device), build_models(config, teacher, device)
    (pixels, labels), test = (load_dataset(config.dataset.name, data / "dataset", split) for split in ("train", "test"))
    evaluator = build_evaluator(config, pixels, labels, device)
    noises = evaluator.noises

    timed = models if accelerator.is_main_process else {}
    times = {name: latency(model, noises[0], LATENCY_BATCH) for name, model in timed.items()}
    accelerator.wait_for_everyone()  # nothing else runs on this machine while the first process takes the time
    drawn = {"teacher": evaluator.draw(models["teacher"], "teacher", partial(keep_teacher, config))}
    drawn |= {name: evaluator.draw(models[name], name) for name in ("student_before", "student")}
    if not accelerator.is_main_process:
        return
    nfe = count_nfe(teacher.scheduler_config, settings.solver, settings.num_steps, settings.timestep_spacing)
    scores: dict[str, Any] = {"run": run, "latency": times}
    for name, summaries in drawn.items():
        scores[name] = evaluator.score(summaries, None if name == "teacher" else drawn["teacher"])
        seconds = times[name]["batch_seconds"] / times[name]["batch_size"]
        scores[name] |= {"nfe": nfe if name == "teacher" else 1, "seconds_per_image": seconds}
    drawn["test"] = evaluator.split(*test)
    scores["data"] = {"test": evaluator.score(drawn["test"])}
    scores["speed"] = {
        "teacher_over_student_seconds": scores["teacher"]["seconds_per_image"] / scores["student"]["seconds_per_image"],
        "distill_images_per_second": load_json(data / "training" / "speed.json")["images_per_second"],
        "pairs_images_per_second": LATENCY_BATCH / median_seconds(make_pairs, noises[0], LATENCY_BATCH),
    }
    with whole_folder(data / "evaluation") as out:
        write_examples(out, models, drawn, evaluator.train, pixels, noises)
        save_json(out / "scores.json", scores)


if __name__ == "__main__":
    cli.run(main)
