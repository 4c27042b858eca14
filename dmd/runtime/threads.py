"""How torch's threads share the processor's cores: settings that OpenMP reads once, when torch loads it."""

import math
import os
from pathlib import Path

WAITING = {"GOMP_SPINCOUNT": "1000"}
"""Threads that wait for one another look so many times, some microseconds long, then sleep. GNU's default, 300,000,
holds for milliseconds a core that another process would give to the very thread they wait for; those that sleep at once
lose more to waking than the products of a small network take. Chosen by `busy_core_over_idle` and
`idle_iteration_after_over_before` of `python -m benchmarks busy`."""

WAITING_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""By any of them a user says how threads wait."""


def share_cores() -> None:
    """Set `WAITING`, and so many threads as the CPU quota allows, where the user has set neither.

    To be called before torch is imported.
    """
    if not any(name in os.environ for name in WAITING_VARIABLES):
        os.environ.update(WAITING)
    cores, quota = usable_cores(), cpu_quota()
    if quota is not None and quota < cores:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, math.ceil(quota))))


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that the control groups of this process allow, the smallest of all above it; None: no limit.

    Both versions of Linux's control groups: `cpu.max`, and `cpu.cfs_quota_us` with `cpu.cfs_period_us`
    (docs.kernel.org, admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst). `root` holds `proc` and `sys`.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            quotas.append(_quota_of(folder))
            if folder == mount:
                break
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(folder: Path) -> float | None:
    """The quota that one control group sets itself."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1"):
            return int(quota) / int(period)
    return None
