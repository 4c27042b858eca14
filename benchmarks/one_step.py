"""Drawing with the finished generator: against a pass of its network, compiled and not, and against many steps."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import DiffusionPipeline

from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Jobs, Plan, Worker, in_turns, repeated
from dmd.commands.onnx_graph import OnnxGenerator, export_onnx
from dmd.diffusion.denoiser import BaseDenoiser
from dmd.diffusion.generator import Generator
from dmd.diffusion.sampler import sample
from dmd.models.pipeline import save_generator
from dmd.training.compile import compile_network

RESULTS = Path(__file__).resolve().parent / "results"
PART = 10
STEPS = 1000
BATCHES = (1, 64)


def best_solver(shipped: Shipped) -> tuple[str, int, str]:
    """Solver, steps and spacing of the teacher's table that come nearest to the data, of rows of most samples."""
    table = pd.read_csv(Path("docs", "results", "data", "tables", shipped.config.system, "teacher_steps.csv"))
    rows = table[table.guidance_scale == shipped.config.guidance_scale]
    rows = rows[rows.num_samples == rows.num_samples.max()]
    best = rows.loc[rows[f"fd_{shipped.config.evaluate.features}"].idxmin()]
    return str(best.solver), int(best.num_steps), str(best.timestep_spacing)


def jobs(count: int) -> Jobs:
    """The saved pipeline, one pass of its network, and the teacher: a part of 1000 steps, its best and its default."""
    shipped = Shipped()
    config, scheduler = shipped.config, shipped.teacher.scheduler_config
    folder = Path(tempfile.mkdtemp(prefix="dmd-benchmark-"))
    timestep = config.distill.generator_timesteps[0]
    save_generator(folder, shipped.teacher.backbone, scheduler, timestep, shipped.classes)
    pipeline, compiled = (DiffusionPipeline.from_pretrained(folder, trust_remote_code=True) for _ in range(2))
    compile_network(compiled.unet, torch.device("cpu"), "compile")  # when it first runs, which is not timed
    z, labels = shipped.noise(count), shipped.labels(count)
    own = config.evaluate.solver, config.evaluate.num_steps, config.evaluate.timestep_spacing

    def solve(denoiser: BaseDenoiser, *solver: Any) -> None:
        sample(denoiser, z, labels, scheduler, *solver)

    onnx = folder / "generator.onnx"
    export_onnx(Generator(shipped.teacher.denoiser, timestep), onnx, shipped.classes is not None)
    exported = OnnxGenerator(onnx, torch.get_num_threads())
    rounds = max(1, 64 // count // 4)

    def difference() -> float:
        images = (exported(z, labels) / 2 + 0.5).clamp(0, 1)
        return (images - pipeline(labels, latents=z, output_type="pt").images).abs().max().item()

    plain, guided, forward = shipped.teacher.denoiser, shipped.guided, shipped.forward(count)
    return {
        "forward": repeated(forward, rounds),
        "one_step": repeated(partial(pipeline, labels, latents=z, output_type="pt"), rounds),
        "one_step_compiled": repeated(partial(compiled, labels, latents=z, output_type="pt"), rounds),
        "onnxruntime": repeated(partial(exported, z, labels), rounds),
        "teacher_part": lambda: solve(plain, "ddim", PART, "trailing"),
        "teacher_best": lambda: solve(guided, *best_solver(shipped)),
        "teacher_default": lambda: solve(guided, *own),
        "rounds": lambda: rounds,
        "difference": difference,
    }


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds an image at each batch size, and the ratios at the largest."""
    record: dict[str, Any] = {"seconds_an_image": {}, "largest_difference_of_onnxruntime": {}}
    for count in BATCHES:
        worker = Worker(jobs, count, tuned=True)
        passes = ("forward", "one_step", "one_step_compiled", "onnxruntime")
        names = (*passes, "teacher_part", "teacher_best", "teacher_default")
        asked = {name: (worker, name) for name in ("rounds", "difference")}
        times, facts = in_turns({name: (worker, name) for name in names}, plan, finally_ask=asked)
        share = dict.fromkeys(passes, 1 / facts["rounds"])
        share["teacher_part"] = STEPS / PART
        each = {name: [value * share.get(name, 1) / count for value in times[name]] for name in names}
        each["teacher_1000"] = each.pop("teacher_part")
        record["seconds_an_image"][str(count)] = {name: summary(values) for name, values in each.items()}
        record["largest_difference_of_onnxruntime"][str(count)] = facts["difference"]
        record["ratios"] = {
            "one_step_over_forward": ratio(each["one_step"], each["forward"]),
            "one_step_compiled_over_pipeline": ratio(each["one_step_compiled"], each["one_step"]),
            "onnxruntime_over_pipeline": ratio(each["onnxruntime"], each["one_step"]),
            "teacher1000_over_student": ratio(each["teacher_1000"], each["one_step"]),
            "teacher_best_over_student": ratio(each["teacher_best"], each["one_step"]),
            "teacher_default_over_student": ratio(each["teacher_default"], each["one_step"]),
        }
    columns = {
        f"batch {count}": {name: values["median"] for name, values in each.items()}
        for count, each in record["seconds_an_image"].items()
    }
    table = pd.DataFrame(columns).rename_axis("seconds an image").reset_index()
    table.to_csv(RESULTS / "one_step.csv", index=False, float_format="%.4g")
    return record
