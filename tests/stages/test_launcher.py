"""A process that is told to end does so at once, also while native code waits for other processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAITS = """
import torch
from stages.command.launcher import end_clearly
end_clearly()
store = torch.distributed.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
print("waiting", flush=True)
store.wait(["the other process"])
"""

FORKS = """
import os, signal, time
from stages.command.launcher import end_clearly
end_clearly()
ready, told = os.pipe()
child = os.fork()
if child == 0:
    os.write(told, b".")
    time.sleep(60)
    os._exit(0)  # below, `child` would stand for the whole group
os.read(ready, 1)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
time.sleep(0.2)
print("goes on", flush=True)
"""

TOLD_AT_ONCE = """
import os, signal, time
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))  # runs before the later ones
from stages.command.launcher import end_clearly
end_clearly()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
child = os.fork()
if child == 0:
    os._exit(0)  # it tells nobody else
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
time.sleep(0.2)
print("goes on", signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR1}, flush=True)
"""


def test_a_process_that_waits_for_its_group_ends_when_told_to() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)  # the store itself would wait for five minutes
    finally:
        process.kill()
    assert process.returncode == 1
    assert said.count("error: stopped by SIGTERM: the job was cancelled or another process of it is gone; run ") == 1
    assert "Traceback" not in said


def test_a_forked_helper_that_is_told_to_end_ends_alone() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", FORKS], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"{-signal.SIGTERM}\ngoes on\n"), ran.stderr


def test_a_forked_helper_that_is_told_to_end_at_its_first_instant_ends_alone() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TOLD_AT_ONCE]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, f"{-signal.SIGTERM}\ngoes on True\n"), ran.stderr
