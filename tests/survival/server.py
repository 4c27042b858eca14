"""A warm server of victims: it has everything imported, and forks a real process for each stage command it is given.

One line in, `<stage> <folder>`; two lines out: the process id, and later its exit status as `subprocess` gives it.
The folder holds params.yaml; what the process prints goes to `log` there.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from stages import cli, distill, pairs, teacher

STAGES = {"pairs": pairs, "teacher": teacher, "distill": distill}


def keep_last_checkpoint(finish: Callable[[Path], None]) -> Callable[[Path], None]:
    """`finish`, after the newest checkpoint was copied to `last/`: with it goes all state of the training."""

    def copying(work: Path) -> None:
        shutil.rmtree("last", ignore_errors=True)
        shutil.copytree(max(work.glob("step-*")), "last")
        finish(work)

    return copying


def command(stage: str, folder: Path) -> int:
    """Run the stage in `folder`, exactly as its command does."""
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = [stage, "params.yaml"]
    try:
        cli.run(STAGES[stage].main)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main() -> None:
    """Serve until the input ends."""
    torch.set_num_threads(1)
    for module in (distill, teacher):
        module.finish = keep_last_checkpoint(module.finish)
    print("ready", flush=True)
    for line in sys.stdin:
        stage, folder = line.rstrip("\n").split(" ", 1)
        pid = os.fork()
        if pid == 0:
            os._exit(command(stage, Path(folder)))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
