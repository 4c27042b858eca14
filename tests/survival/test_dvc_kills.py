"""DVC's own commands, killed with their stage and given again, leave to the bit what they leave without a kill."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from dmd.commands.overrides import override
from tests.pipeline.remotes import PARTS, ROOT, commit, run
from tests.survival.victims import PATIENCE, TINY, make_system, outputs

ALPHA = "1.5"
LONGER = {"distill.steps": 40, "pairs.count": 64}
COMMANDS: dict[str, Sequence[str]] = {
    "repro": ("repro", "dvc.yaml:distill"),
    "exp run": ("exp", "run", "-S", f"alpha={ALPHA}", "--name", "kept", "dvc.yaml:distill"),
    "exp run --temp": ("exp", "run", "--temp", "-S", f"alpha={ALPHA}", "--name", "kept", "dvc.yaml:distill"),
}
TRACES = {"pairs": "pairs/*/*/rows-*.json", "distill": "distill/*/step-*"}
"""What a stage's work folder has when a part of its work is done."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of a tiny system whose first two stages are done."""
    folder = tmp_path_factory.mktemp("dvc") / "repository"
    for name in PARTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    make_system(folder, LONGER)
    values = override(ROOT / "params.yaml", TINY | LONGER).model_dump(mode="json")
    (folder / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")  # DVC misses keys that are none
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for entry in stages["fetch"]["outs"] + stages["teacher"]["outs"]:
        path = folder / (entry if isinstance(entry, str) else next(iter(entry))).replace("${system}", "mnist-small")
        if not path.exists() or path.name == "perceptual":
            path = path if path.suffix else path / "bytes"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"not read by pairs and distill")
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.name", "test")
    run(folder, "git", "config", "user.email", "test@localhost")
    run(folder, "dvc", "commit", "--force", "dvc.yaml:fetch", "dvc.yaml:teacher")
    commit(folder, "a tiny system")
    return folder


@pytest.fixture(scope="module")
def whole(repository: Path) -> dict[str, dict[str, str]]:
    """The outputs of runs that nothing disturbed, by the command's alpha."""
    found = {}
    for name, command in (("repro", COMMANDS["repro"]), ("exp run", COMMANDS["exp run"])):
        folder = repository.with_name(f"whole-{name.replace(' ', '-')}")
        shutil.copytree(repository, folder, symlinks=True)
        run(folder, "dvc", *command)
        found[name] = outputs(folder)
    assert found["repro"]["generator"] != found["exp run"]["generator"]
    return found


def kill_when(folder: Path, command: Sequence[str], stage: str) -> None:
    """Start the command and kill it with all its processes as soon as `stage` has done a part of its work."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment |= {"DVC_NO_ANALYTICS": "1", "OMP_NUM_THREADS": "1"}
    victim = subprocess.Popen(
        ["dvc", *command], cwd=folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE
    while not list((folder / ".work").glob(TRACES[stage])):
        assert victim.poll() is None, f"`dvc {' '.join(command)}` ended before it was killed"
        assert time.monotonic() < deadline, f"{stage} has left no trace"
        time.sleep(0.005)
    os.killpg(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_given_again_ends_as_if_nothing_had_happened(
    name: str, repository: Path, whole: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder, symlinks=True)
    for stage in TRACES:
        kill_when(folder, COMMANDS[name], stage)
    said = run(folder, "dvc", *COMMANDS[name])
    assert "distilling from step 0 of" not in said
    if "--temp" in COMMANDS[name]:
        revision = run(folder, "git", "for-each-ref", "--format=%(objectname)", "refs/exps/*/*/kept").strip()
        run(folder, "git", "checkout", revision, "--", "dvc.lock")
        run(folder, "dvc", "checkout", "dvc.yaml:pairs", "dvc.yaml:distill")
    assert outputs(folder) == whole["repro" if name == "repro" else "exp run"]
