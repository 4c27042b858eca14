"""One pass of the network, or one update, under each option that might make it faster."""

import copy
import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from benchmarks.repeats import ratio, summary
from benchmarks.shipped import Shipped
from benchmarks.workers import Job, Jobs, Plan, Worker, in_turns, repeated, timed
from dmd.commands.onnx_graph import OnnxGenerator, export_onnx
from dmd.diffusion.generator import Generator

COUNT = 64
COUNTS = (4, 16, 256)
"""Other batches, for the seconds an image."""


def network(shipped: Shipped, backbone: nn.Module, channels_last: bool = False) -> Job:
    """A pass without gradient."""
    z, t, labels = shipped.noise(COUNT), torch.full((COUNT,), 600), shipped.labels(COUNT)
    z = z.to(memory_format=torch.channels_last) if channels_last else z

    def run() -> None:
        with torch.no_grad():
            backbone(z, t, class_labels=labels, return_dict=False)

    return run


def update(shipped: Shipped, fused: bool) -> Job:
    """Ten updates of AdamW on gradients of one, by the fused kernel or as torch does it without being told."""
    backbone = copy.deepcopy(shipped.teacher.backbone)
    optimizer = torch.optim.AdamW(backbone.parameters(), 1e-6, fused=fused or None)
    for parameter in backbone.parameters():
        parameter.grad = torch.ones_like(parameter)
    return lambda: [optimizer.step() for _ in range(10)] and None


def options() -> Jobs:
    """Every option, in one process."""
    shipped = Shipped()
    backbone = shipped.teacher.backbone
    last = copy.deepcopy(backbone).to(memory_format=torch.channels_last)
    bfloat16 = network(shipped, backbone)
    compiled = cast(nn.Module, torch.compile(copy.deepcopy(backbone)))
    path = Path(tempfile.mkdtemp(prefix="dmd-benchmark-"), "generator.onnx")
    generator = Generator(copy.deepcopy(shipped.teacher.denoiser), shipped.config.distill.generator_timesteps)
    export_onnx(generator, path, shipped.classes is not None)
    compilation, _ = timed(network(shipped, compiled))
    exported, z, labels = OnnxGenerator(path, torch.get_num_threads()), shipped.noise(COUNT), shipped.labels(COUNT)

    def autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            bfloat16()

    def run_exported() -> None:
        exported(z, labels)

    return {
        "eager": network(shipped, backbone),
        **{f"batch_{count}": repeated(shipped.forward(count), max(1, COUNT // count)) for count in COUNTS},
        "inference_mode": shipped.forward(COUNT),
        "channels_last": network(shipped, last, channels_last=True),
        "bfloat16": autocast,
        "compiled": network(shipped, compiled),
        "onnxruntime": run_exported,
        "adamw": update(shipped, fused=False),
        "adamw_fused": update(shipped, fused=True),
        "compilation": lambda: compilation,
    }


def plain() -> Jobs:
    """The same pass where freed memory goes back to the system, as it does without `keep_freed_memory`."""
    shipped = Shipped()
    return {"eager": network(shipped, shipped.teacher.backbone)}


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of each option on a batch of 64, and its share of the eager pass's; AdamW against AdamW."""
    ours, theirs = Worker(options, tuned=True), Worker(plain, tuned=False)
    batches = tuple(f"batch_{count}" for count in COUNTS)
    names = (
        "eager",
        *batches,
        "inference_mode",
        "channels_last",
        "bfloat16",
        "compiled",
        "onnxruntime",
        "adamw",
        "adamw_fused",
    )
    sides = {name: (ours, name) for name in names} | {"memory_given_back": (theirs, "eager")}
    times, facts = in_turns(sides, plan, finally_ask={"compilation": (ours, "compilation")})
    ratios = {
        f"forward_{name}_over_eager": ratio(values, times["eager"])
        for name, values in times.items()
        if name not in ("eager", *batches, "adamw", "adamw_fused")
    }
    for count, name in zip(COUNTS, batches, strict=True):
        share = COUNT / (count * max(1, COUNT // count))
        ratios[f"forward_image_of_{count}_over_{COUNT}"] = ratio(times[name], times["inference_mode"], factor=share)
    ratios["adamw_fused_over_default"] = ratio(times["adamw_fused"], times["adamw"])
    return {
        "batch": COUNT,
        "seconds": {name: summary(values) for name, values in times.items()}
        | {"compilation": summary([facts["compilation"][plan.clock]])},
        "ratios": ratios,
    }
