"""The folder of the page that draws in the browser: the page, its networks as ONNX, a system's facts, the runtime."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from dmd.commands.browser_runtime import place_runtime
from dmd.commands.onnx_graph import export_denoiser, export_onnx, image_shape
from dmd.diffusion.generator import Generator
from dmd.diffusion.guidance import with_guidance
from dmd.diffusion.sampler import build_scheduler
from dmd.models.karras import is_karras
from dmd.models.teacher import Teacher
from dmd.params.config import Config
from dmd.runtime.files import save_json, whole_folder

FACTS = "system.json"
"""What the page must know of a system; a folder that has it is a demo."""

MOST_CALLS = 100
"""The slider's end."""


def build_folder(config: Config, teacher: Teacher, student: Generator, folder: Path) -> None:
    """Write the static folder, whole or not at all.

    Args:
        config: names the system, its classes, the teacher's guidance and its usual number of calls.
        teacher: the many-step model; one call of it at the student's timesteps is the student before.
        student: the generator.
        folder: replaced if it is a demo already.

    Raises:
        ValueError: the folder is there and no demo, or the page cannot sample as this teacher does.
        DownloadError: the browser's runtime cannot be had.
    """
    if folder.exists() and not (folder / FACTS).is_file():
        raise ValueError(f"{folder} is there, and no demo: it would be lost; name another folder, or remove it")
    facts = describe(config, teacher, student)
    shape, classes = facts["shape"], config.dataset.num_classes
    guided = with_guidance(teacher.denoiser, config.guidance_scale, classes)
    with whole_folder(folder) as part:
        for page in files("dmd.commands").joinpath("demo_page").iterdir():
            (part / page.name).write_bytes(page.read_bytes())
        place_runtime(part / "runtime")
        before = Generator(teacher.denoiser, student.timesteps)
        for name, generator in {"student": student, "before": before}.items():
            export_onnx(generator, part / f"{name}.onnx", classes is not None)
        export_denoiser(guided, shape, part / "teacher.onnx", classes is not None)
        save_json(part / FACTS, facts)


def describe(config: Config, teacher: Teacher, student: Generator) -> dict[str, Any]:
    """What the page must know: shape, classes, and DDIM's schedule: its tables, and its timesteps by number of calls.

    Raises:
        ValueError: the teacher has EDM's preconditioning, its timesteps are spaced by `linspace`, or its scheduler
            thresholds: the page's sampler, DDIM from z, does none of these.
    """
    if is_karras(teacher.scheduler_config):
        raise ValueError(f"{config.system}: the teacher has EDM's preconditioning; the page's DDIM needs betas")
    if config.evaluate.timestep_spacing == "linspace":
        raise ValueError(
            f"{config.system}: evaluate.timestep_spacing is `linspace`, which the page's DDIM does not take; set "
            "`trailing`"
        )
    schedule = teacher.schedule
    spacing, every = config.evaluate.timestep_spacing, torch.arange(schedule.num_timesteps)
    numbers = range(1, min(MOST_CALLS, schedule.num_timesteps) + 1)
    schedulers: list[Any] = [build_scheduler(teacher.scheduler_config, "ddim", number, spacing) for number in numbers]
    sampling = schedulers[0].config
    if sampling.thresholding:
        raise ValueError("the teacher's scheduler_config.json has `thresholding`, which the page does not know")
    return {
        "system": config.system,
        "shape": list(image_shape(student)),
        "classes": config.dataset.num_classes,
        "later": student.timesteps[1:],
        "teacher": {
            "calls": min(config.evaluate.num_steps, len(numbers)),
            "guidance_scale": config.guidance_scale,
            "alpha": schedule.alpha(every).tolist(),
            "sigma": schedule.sigma(every).tolist(),
            "clip": sampling.clip_sample_range if sampling.clip_sample else None,
            "timesteps": [scheduler.timesteps.tolist() for scheduler in schedulers],
        },
    }
