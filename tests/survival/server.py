"""A warm server of victims: it has everything imported, and forks a real process for each stage command it is given.

One line in, `<stage> <number> <folder>`; two lines out: the ids of so many processes, which form a group as torchrun's
do where they are several, and later their exit statuses as `subprocess` gives them. The folder holds params.yaml; what
the processes print goes to `log` there, and harms planned for it (`harms.py`) are done to them first.
"""

import importlib
import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import Accelerator

from dmd.evaluate.noises import Noises
from dmd.evaluate.summaries import summarise_model
from dmd.features.lenet import LeNet
from dmd.params.config import Config
from dmd.runtime.files import save_tensors
from dmd.runtime.launched import is_first_process
from stages import distill, pairs, teacher
from stages.command import cli

harms = importlib.import_module("harms")  # beside this script; installed packages have taken the name `tests`
STAGES = {"pairs": pairs, "teacher": teacher, "distill": distill}


def keep_last_checkpoint(finish: Callable[[Path], None]) -> Callable[[Path], None]:
    """`finish`, after the newest checkpoint was copied to `last/`: with it goes all state of the training."""

    def copying(work: Path) -> None:
        shutil.rmtree("last", ignore_errors=True)
        shutil.copytree(max(work.glob("step-*")), "last")
        finish(work)

    return copying


def summarise(_: Config) -> None:
    """Draw 27 noises in batches of 4, which neither two nor four processes share evenly, and keep the summary."""
    torch.manual_seed(0)
    net, weight = LeNet(image_size=16, feature_dim=6).eval(), torch.rand(1, 1, 16, 16)
    noises = Noises(0, 27, (1, 16, 16), 10, torch.device("cpu"))
    Accelerator()
    summary = summarise_model(net, lambda z, labels: z * weight + labels[:, None, None, None] / 9, noises, 4, "draw")
    if is_first_process():
        save_tensors(Path("summary.safetensors"), summary.tensors())


def command(stage: str, folder: Path) -> int:
    """Run the stage in `folder`, exactly as its command does."""
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = [stage, "params.yaml"]
    harms.meet(Path())
    try:
        cli.run(summarise if stage == "summarise" else STAGES[stage].main)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        with suppress(OSError):  # of a disk that is full
            Path("peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))  # MiB
    return 0


def fork(stage: str, number: int, folder: Path) -> list[int]:
    """Ids of `number` processes that run the stage, with the environment that a launcher gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(number):
        child = os.fork()
        if child == 0:
            if number > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(number)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os._exit(command(stage, folder))
        children.append(child)
    return children


def warm(folder: Path) -> None:
    """Import here, once for all processes, what the stages of a text-to-image system import late."""
    if "prompts: " in (folder / "params.yaml").read_text(encoding="utf-8"):
        for name in ("peft", "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"):
            importlib.import_module(name)


def main() -> None:
    """Serve until the input ends."""
    torch.set_num_threads(1)
    for module in (distill, teacher):
        module.finish = keep_last_checkpoint(module.finish)
    print("ready", flush=True)
    for line in sys.stdin:
        stage, number, folder = line.rstrip("\n").split(" ", 2)
        warm(Path(folder))
        children = fork(stage, int(number), Path(folder))
        print(*children, flush=True)
        print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)


if __name__ == "__main__":
    main()
