"""What is kept of all benchmarks together: `summary.json`, and the tables of docs/results/performance.md."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dmd.runtime.files import load_json, save_json

BARS = {
    "distill_over_floor": ("≤ 1.25", "≤ 1.05"),
    "distill_over_textbook": ("≥ 1.3", "≥ 1.8"),
    "pairs_over_ddim_pipeline": ("≥ 1.3", "≥ 2"),
    "pairs_over_ancestral": ("≥ 40", "≥ 100"),
    "one_step_over_forward": ("≤ 1.1", "≤ 1.02"),
    "teacher1000_over_student": ("≥ 900", "≥ 1000"),
    "evaluation_over_torch_fidelity": ("≤ 0.8", "≤ 0.5"),
    "repro_before_over_after": ("≥ 1.3", "≥ 2"),
    "time_to_quality_before_over_after": ("≥ 2.5", "≥ 4"),
    "busy_core_over_idle": ("≤ 2.2", "≤ 1.8"),
    "idle_iteration_after_over_before": ("≤ 1.1", "≤ 1"),
    "browser_teacher_default_over_student": ("≥ 5", ""),
    "cifar10_distill_over_floor": ("", "≤ 1.15"),
    "cifar10_pairs_over_ddim_pipeline": ("", "≥ 1.2"),
}
"""What was aimed at, and what would be better still."""

TOLERANCE = 1e-4
"""Of two ways to draw the same images, in [0, 1]."""

DIFFERENCES = {
    "largest_difference_of_images": "the sampler's DDIM and diffusers' DDIMPipeline",
    "largest_difference_of_compiled_images": "the compiled sampler's DDIM and diffusers' DDIMPipeline",
    "largest_difference_of_onnxruntime": "onnxruntime and the saved pipeline",
}
"""Keys of a record by which images were compared, and what with what."""


def write_tables(folder: Path, names: tuple[str, ...]) -> None:
    """From each `<name>.json` that is in `folder`, the medians and the tables.

    `summary.json` has the median of every ratio, `ratios.csv` their spread, those with a bar first; `seconds.csv` what
    was timed; `flops.csv` the operations of passes, and their rate; `differences.csv` how far images are apart that
    should agree.
    """
    records = {name: load_json(folder / f"{name}.json") for name in names if (folder / f"{name}.json").is_file()}
    ratios = {name: values for record in records.values() for name, values in record["ratios"].items()}
    save_json(folder / "summary.json", {name: values["median"] for name, values in ratios.items()})
    order = [name for name in BARS if name in ratios] + [name for name in ratios if name not in BARS]
    aims = {name: dict(zip(("bar", "stretch"), BARS.get(name, ("", "")), strict=True)) for name in order}
    _write(folder / "ratios.csv", [{"ratio": name, **_row(ratios[name]), **aims[name]} for name in order])
    _write(
        folder / "seconds.csv",
        [
            {"benchmark": name, "what": what, **_row(values)}
            for name, record in records.items()
            for what, values in record.get("seconds", {}).items()
        ],
    )
    _write(folder / "flops.csv", [_rate(records[name]) for name in ("distill", "cifar10") if name in records])
    _write(folder / "differences.csv", [row for name, record in records.items() for row in _differences(name, record)])


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in ("median", "low", "high")} | {"repeats": len(values["repeats"])}


def _rate(record: Mapping[str, Any]) -> dict[str, Any]:
    """Operations of a pass and of an iteration, counted, and operations a second of that very pass."""
    flops, batch = record["flops"], record["batch"]
    return {
        "network": record["network"],
        "batch": batch,
        "GFLOP an image": flops["forward"] / batch / 1e9,
        "GFLOP a pass": flops["forward"] / 1e9,
        "GFLOP an iteration": flops["iteration"] / 1e9,
        "GFLOP a second, in a pass": record["flops_per_second"]["median"] / 1e9,
    }


def _differences(name: str, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, what in DIFFERENCES.items():
        found = record.get(key, {})
        each = found if isinstance(found, Mapping) else {record.get("batch", ""): found}
        for batch, value in each.items():
            yield {
                "benchmark": name,
                "images of": what,
                "batch": batch,
                "largest difference": value,
                "allowed": TOLERANCE,
                "agree": "yes" if value <= TOLERANCE else "no",
            }


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g")
