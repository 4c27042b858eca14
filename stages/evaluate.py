"""Stage `evaluate`: score the teacher, the student before and after, on the same noises, against the real images."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from dmd.checkpoint import file_sha256, folder_sha256, load_json, save_json, save_tensors, whole_folder
from dmd.config import Config
from dmd.datasets import load_mnist
from dmd.denoiser import with_guidance
from dmd.evaluation import frechet_distance
from dmd.features import load_features
from dmd.generator import OneStepGenerator
from dmd.pipeline import load_generator
from dmd.sampler import count_nfe, sample
from dmd.scores import Model, Noises, first_samples, score, score_models, seconds_per_image, summarise_pixels
from dmd.sections.sampling import Sampling
from dmd.teacher import Teacher
from dmd.types import Images, Labels
from stages import cli

GRID = 100


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


def main(config: Config) -> None:
    """Write data/<system>/evaluation: scores.json and the first samples of teacher, student_before and student."""
    accelerator = Accelerator()
    if not accelerator.is_main_process:
        return
    device, settings, data = accelerator.device, config.evaluate, Path("data", config.system)
    teacher = Teacher.load(Path("models", config.system, "teacher"))
    models, make_pairs = build_models(config, teacher, device)
    net = load_features(data / "weights" / "features").to(device)
    splits = [load_mnist(data / "dataset", split) for split in ("train", "test")]
    train, test = (summarise_pixels(net, *split, settings.batch_size, device) for split in splits)
    noises = Noises(config.seed, settings.num_samples, config.dataset.image_shape, config.dataset.num_classes, device)
    model_scores, summaries = score_models(net, models, train, noises, settings.batch_size, settings.features)

    scores: dict[str, Any] = {**model_scores}
    nfe = count_nfe(teacher.scheduler_config, settings.solver, settings.num_steps, settings.timestep_spacing)
    for name, calls in {"teacher": nfe, "student_before": 1, "student": 1}.items():
        scores[name]["nfe"] = calls
    scores["student"]["fd_to_teacher"] = frechet_distance(summaries["student"].moments, summaries["teacher"].moments)
    scores["data"] = {"test": score(test, train, settings.features, config.seed)}
    scores["speed"] = {
        "teacher_over_student_seconds": scores["teacher"]["seconds_per_image"] / scores["student"]["seconds_per_image"],
        "distill_images_per_second": load_json(data / "training" / "speed.json")["images_per_second"],
        "pairs_images_per_second": 1 / seconds_per_image(make_pairs, noises, config.pairs.batch_size),
    }
    scores["run"] = {"features": settings.features, "num_samples": settings.num_samples, "seed": config.seed}
    scores["run"] |= {"device": device.type, "torch": torch.__version__.split("+")[0]}
    scores["run"] |= {"teacher_sha256": folder_sha256(Path("models", config.system, "teacher"))}
    scores["run"] |= {"pairs_sha256": file_sha256(data / "pairs" / "manifest.csv")}
    with whole_folder(data / "evaluation") as out:
        save_tensors(out / "samples.safetensors", first_samples(models, noises, GRID))
        save_json(out / "scores.json", scores)


if __name__ == "__main__":
    cli.run(main)
