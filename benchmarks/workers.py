"""Sides of a comparison, each in a process of its own, their repeats in turns."""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

from benchmarks.repeats import Seconds
from stages.command import cli

Job = Callable[[], Any]
Jobs = Mapping[str, Job]
"""What one side can do, by name."""


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended, such as data loaders."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def repeated(job: Job, count: int = 1) -> Job:
    """A job that does another so many times, and gives nothing."""

    def run() -> None:
        for _ in range(count):
            job()

    return run


CLOCKS = {"wall": time.perf_counter, "cpu": cpu_seconds}
"""Wall time; or CPU time, which a machine busy with other work disturbs less (for one thread only)."""


def timed(job: Job) -> tuple[dict[str, float], Any]:
    """Seconds of a job by each clock, and what it returned."""
    start = {name: clock() for name, clock in CLOCKS.items()}
    value = job()
    return {name: clock() - start[name] for name, clock in CLOCKS.items()}, value


class Worker:
    """A process that prepares its jobs once, then does and times one at a time when told to."""

    def __init__(
        self, build: Callable[..., Jobs], *arguments: Any, tuned: bool, environment: Mapping[str, str] | None = None
    ) -> None:
        """Prepare to run `build(*arguments)`; `tuned` sets the allocator as this project's stages do."""
        context = multiprocessing.get_context("spawn")
        self._connection, self._theirs = context.Pipe()
        self._environment = dict(environment or {})
        # No daemon: those may not have children, which a data loader is.
        self._process = context.Process(target=_serve, args=(self._theirs, tuned, build, arguments))

    def __enter__(self) -> Self:
        """Start the process, and wait until the jobs are prepared."""
        with patch.dict(os.environ, self._environment):
            self._process.start()
        self._theirs.close()
        self._connection.recv()
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()

    def run(self, name: str) -> tuple[dict[str, float], Any]:
        """Do a job; its seconds by each clock, and what it returned.

        Raises:
            EOFError: the job failed; its traceback is on standard error.
        """
        self._connection.send(name)
        return self._connection.recv()


Sides = Mapping[str, tuple[Worker, str]]
"""A worker and the name of its job, by the name of the side."""


@dataclass(frozen=True)
class Plan:
    """How to measure: so many times, after one run that is dropped, by this clock."""

    repeats: int
    clock: str = "wall"


def in_turns(sides: Sides, plan: Plan, finally_ask: Sides | None = None) -> tuple[dict[str, Seconds], dict[str, Any]]:
    """Seconds of each side's job at each repeat; within a repeat, one side after the other.

    Machines drift: sides that are compared must be measured side by side. Also returns what each job of `finally_ask`,
    untimed, gave at the end.
    """
    asked = finally_ask or {}
    with ExitStack() as stack:
        for worker in {id(worker): worker for worker, _ in (*sides.values(), *asked.values())}.values():
            stack.enter_context(worker)
        rounds = [
            {name: worker.run(job)[0][plan.clock] for name, (worker, job) in sides.items()}
            for _ in range(1 + plan.repeats)
        ]
        facts = {name: worker.run(job)[1] for name, (worker, job) in asked.items()}
    return {name: [record[name] for record in rounds[1:]] for name in sides}, facts


def peak_memory() -> int:
    """The largest resident memory this process has had, in bytes, as Linux counts it in KiB.

    Not `getrusage`'s, which begins with the peak of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _serve(connection: Any, tuned: bool, build: Callable[..., Jobs], arguments: Sequence[Any]) -> None:
    if tuned:
        cli.keep_freed_memory()
    jobs = build(*arguments)
    connection.send("ready")
    while True:
        connection.send(timed(jobs[connection.recv()]))
