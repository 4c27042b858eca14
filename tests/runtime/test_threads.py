"""How threads wait and how many there are is settled before torch's OpenMP reads it, unless the user has settled it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dmd.runtime import threads
from dmd.runtime.threads import WAITING_VARIABLES, cpu_quota, share_cores

ROOT = Path(__file__).resolve().parents[2]


def printed(code: str, **environment: str) -> str:
    """What a fresh process prints, where the user has settled nothing but `environment`."""
    kept = {name: value for name, value in os.environ.items() if name not in (*WAITING_VARIABLES, "OMP_NUM_THREADS")}
    command, kept = [sys.executable, "-c", code], {**kept, **environment}
    done = subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("module", ["stages", "dmd.commands", "tools", "benchmarks"])
def test_every_stage_and_tool_settles_it_before_torch_is_there(module: str) -> None:
    code = f"import os, sys, {module}; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    assert printed(code) == "1000 False\n"


@pytest.mark.parametrize(
    ("user", "count"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "1234"}, "1234"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_openmp_reads_it_unless_the_user_has_said_how_threads_wait(user: dict[str, str], count: str) -> None:
    """What GNU's OpenMP shows of itself as it is loaded: its rounds of spinning before a thread sleeps."""
    shown = printed("import stages, torch", OMP_DISPLAY_ENV="verbose", **user)
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("torch has another OpenMP here")
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", shown) == [count]


@pytest.mark.parametrize(
    ("quota", "asked", "number"), [(1.5, None, "2"), (0.25, None, "1"), (1.5, "3", "3"), (8.0, None, None)]
)
def test_there_are_no_more_threads_than_the_quota_allows(
    quota: float, asked: str | None, number: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {} if asked is None else {"OMP_NUM_THREADS": asked}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.setattr(threads, "cpu_quota", lambda: quota)
    share_cores()
    assert environment.get("OMP_NUM_THREADS") == number


def write_groups(root: Path, lines: str, groups: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": lines, **{f"sys/fs/cgroup/{name}": groups[name] for name in groups}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("lines", "groups", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/pod/box\n", {"pod/cpu.max": "200000 100000\n", "pod/box/cpu.max": "max 100000\n"}, 2.0),
        ("0::/pod/box\n", {"pod/cpu.max": "200000 100000\n", "pod/box/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/seen/from/outside\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (
            "5:memory:/a\n4:cpu,cpuacct:/a\n0::/\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ("5:cpuset:/\n", {"cpuset/cpu.max": "100000 100000\n"}, None),
    ],
)
def test_the_quota_is_the_smallest_of_the_groups_above(
    lines: str, groups: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    assert cpu_quota(write_groups(tmp_path, lines, groups)) == quota


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
