"""From the start of a process to its first iteration, with all files in the system's cache."""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.repeats import summary
from benchmarks.shipped import Shipped
from benchmarks.workers import CLOCKS, Plan

PARTS = ("imports", "preparation", "first_iteration", "second_iteration")
PAIRS = 2048


def start(pairs: Path, clock: str, began: float) -> None:
    """Run two iterations in this process, and print the seconds of each part as JSON.

    Wall time counts from `began`, CPU time from the start of the process.
    """
    seconds = {"wall": lambda: time.time() - began, "cpu": CLOCKS["cpu"]}[clock]
    moments = [0.0, seconds()]
    distiller = Shipped().distiller(pairs)
    moments.append(seconds())
    for step in range(2):
        distiller.step(step)
        moments.append(seconds())
    spent = [after - before for before, after in itertools.pairwise(moments)]
    print(json.dumps(dict(zip(PARTS, spent, strict=True))))


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of imports, of preparing the distillation with its pairs verified, and of its first two iterations."""
    pairs, found = Shipped().write_pairs(PAIRS), []
    for _ in range(1 + plan.repeats):
        code = f"from benchmarks.startup import start; from pathlib import Path; start(Path({str(pairs)!r}), "
        command = [sys.executable, "-c", f"{code}{plan.clock!r}, {time.time()})"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(printed.splitlines()[-1]))
    seconds = {part: [row[part] for row in found[1:]] for part in PARTS}
    before = [row["imports"] + row["preparation"] for row in found[1:]]
    return {
        "pairs": PAIRS,
        "seconds": {part: summary(values) for part, values in seconds.items()},
        "ratios": {
            "startup_over_iteration": summary(
                [a / b for a, b in zip(before, seconds["second_iteration"], strict=True)]
            ),
            "first_over_second_iteration": summary(
                [a / b for a, b in zip(seconds["first_iteration"], seconds["second_iteration"], strict=True)]
            ),
        },
    }
