"""Measure everything and write benchmarks/results: `python -m benchmarks`, or only some of it by name."""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import (
    ancestral,
    bfloat16,
    browser,
    busy,
    cifar10,
    compiled,
    distill,
    evaluation,
    growth,
    half_precision,
    memory,
    one_step,
    options,
    pairs,
    quality,
    repro,
    startup,
    threads,
)
from benchmarks.record import write_tables
from benchmarks.workers import CLOCKS, Plan
from dmd.runtime.files import save_json

RESULTS = Path(__file__).resolve().parent / "results"
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names, in /proc/cpuinfo, of instructions that multiply bfloat16; the last is Arm's."""
PACKAGES = ("torch", "diffusers", "torch-fidelity", "onnxruntime")
BENCHMARKS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "distill": distill.measure,
    "pairs": pairs.measure,
    "one_step": one_step.measure,
    "evaluation": evaluation.measure,
    "options": options.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "startup": startup.measure,
    "half_precision": half_precision.measure,
    "cifar10": cifar10.measure,
    "ancestral": ancestral.measure,
    "compiled": compiled.measure,
    "bfloat16": bfloat16.measure,
    "threads": threads.measure,
    "busy": busy.measure,
    "browser": browser.measure,
    "repro": repro.measure,
    "quality": quality.measure,
}


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    models = re.findall(r"^model name\s*: (.+)$", facts, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:(.+)$", facts, re.M)
    describe = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    commit = subprocess.run(describe, cwd=RESULTS, capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit,
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "instructions_for_bfloat16": sorted(BFLOAT16.intersection(flags[1].split())) if flags else [],
        "versions": {name: version(name) for name in PACKAGES},
    }


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Which; without any, all.", show_default=False)] = None,
    repeats: Annotated[int, typer.Option(help="Repeats of every side.", min=1)] = 5,
    clock: Annotated[str, typer.Option(help=f"{' or '.join(CLOCKS)}; see benchmarks/workers.py.")] = "wall",
) -> None:
    """Measure, and write `results/<name>.json`, `results/summary.json` and the tables there."""
    unknown = sorted(set(names or []) - set(BENCHMARKS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no such benchmark; take some of {', '.join(BENCHMARKS)}")
    if clock not in CLOCKS:
        raise typer.BadParameter(f"clock {clock!r}: take one of {', '.join(CLOCKS)}")
    if clock == "cpu" and torch.get_num_threads() > 1:
        raise typer.BadParameter("CPU time adds up over threads; set OMP_NUM_THREADS=1 for --clock cpu")
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dmd-benchmark-") as scratch:
        os.environ["TMPDIR"] = tempfile.tempdir = scratch  # of the workers too, which are ended before they can tidy up
        for name in names or BENCHMARKS:
            run(name, Plan(repeats, clock))


def run(name: str, plan: Plan) -> None:
    """One benchmark: its record, the tables, and its ratios on the screen."""
    facts = machine()  # the commit is that of before, since some write tables of their own
    record = BENCHMARKS[name](plan)
    if not record["ratios"]:
        return typer.echo(f"{name}: nothing to compare here; its record stays as it was")
    record["machine"] = facts | {"clock": plan.clock} | record.get("machine", {})
    save_json(RESULTS / f"{name}.json", record)
    write_tables(RESULTS, tuple(BENCHMARKS))
    for ratio, values in record["ratios"].items():
        typer.echo(f"{ratio}: {values['median']:.3g} ({values['low']:.3g} … {values['high']:.3g})")


if __name__ == "__main__":
    typer.run(main)
