"""A process knows which one of its run it is, or is refused; so is what accelerate would take from the environment."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from dmd.runtime.launched import (
    GROUP,
    NEUTRAL,
    PRECISION,
    check_processes,
    check_settings,
    check_shared,
    is_first_process,
)

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
"""As torchrun sets them in the second of two processes."""

LAUNCHED = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
    "ACCELERATE_USE_CPU": "False",
}
"""What `accelerate launch` of accelerate 1.15 leaves if it is told nothing."""


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what a launcher of the tests may have set."""
    for name in (*TORCHRUN, *LAUNCHED, *NEUTRAL, "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def put(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


ALONE: list[dict[str, str]] = [
    {},
    {"RANK": "0", "WORLD_SIZE": "1"},  # the only pod of a job
    {"RANK": "-1", "LOCAL_RANK": "-1"},
    {"PMI_SIZE": "1"},  # srun's
]


@pytest.mark.parametrize("values", ALONE, ids=str)
def test_a_process_alone_is_the_first(values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, values)
    check_processes()
    assert is_first_process()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_of_torchruns_knows_its_number(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN | {"RANK": rank, "LOCAL_RANK": rank})
    check_processes()
    assert is_first_process() == (rank == "0")


NAMELESS: dict[str, tuple[dict[str, str], str]] = {
    "a pod of several": (
        {name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")},
        "WORLD_SIZE 2, RANK 1, but not LOCAL_RANK",
    ),
    "its first pod": ({"RANK": "0", "WORLD_SIZE": "2"}, "WORLD_SIZE 2, but not LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
    "a rank alone": ({"RANK": "1"}, "RANK 1, but not WORLD_SIZE, LOCAL_RANK"),
    "mpirun": ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, "OMPI_COMM_WORLD_SIZE 2, but not RANK"),
    "a local rank alone": ({"LOCAL_RANK": "0"}, "LOCAL_RANK 0, but not RANK, WORLD_SIZE"),
}


@pytest.mark.parametrize("name", NAMELESS)
def test_a_process_that_would_take_itself_for_the_only_one_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, said = NAMELESS[name]
    put(monkeypatch, values)
    with pytest.raises(
        ValueError, match=rf"^the environment has {said}.*torchrun --nproc_per_node N.*LOCAL_RANK counts"
    ):
        check_processes()


@pytest.mark.parametrize("name", [name for name in TORCHRUN if name != "MASTER_ADDR"])
@pytest.mark.parametrize("value", ["foo", "", "1.0", "-2"])
def test_a_number_that_is_none_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN | {name: value})
    with pytest.raises(ValueError, match=rf"^{name} is '{value}' in the environment, no whole number.*unset it"):
        check_processes()


@pytest.mark.parametrize("name", GROUP)
def test_a_process_of_a_group_needs_them_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN)
    monkeypatch.delenv(name)
    with pytest.raises(ValueError, match=rf"but not {name}: this process of a group"):
        check_processes()


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK"])
def test_a_number_outside_the_group_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, TORCHRUN | {name: "2"})
    with pytest.raises(ValueError, match=rf"^{name} is 2, but WORLD_SIZE 2"):
        check_processes()


def test_what_a_launcher_leaves_by_itself_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, LAUNCHED | {"ACCELERATE_USE_CPU": "true", "ACCELERATE_CPU_AFFINITY": "1"})
    check_settings()


def read_by_accelerate() -> set[str]:
    """The names of settings in accelerate's own source, but for those that its launcher alone writes."""
    spec = find_spec("accelerate")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    names = set()
    for path in (folder / "accelerator.py", folder / "state.py", folder / "utils" / "dataclasses.py"):
        names |= set(re.findall(r"\"(ACCELERATE_[A-Z0-9_]*[A-Z0-9])\"", path.read_text(encoding="utf-8")))
    return names


def is_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a setting is let through; a refusal is held to name it."""
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        try:
            check_settings()
        except ValueError as error:
            said = str(error)
        else:
            return True
    assert said.startswith(f"{name} is '{value}' in the environment, ")
    assert "; unset it" in said
    return False


def test_every_setting_that_accelerate_reads_is_refused_or_known_to_change_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = read_by_accelerate()
    assert names >= {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_USE_FSDP", "ACCELERATE_TORCH_DEVICE"}
    taken = {name for name in names if is_taken(name, "4" if name.endswith("STEPS") else "true", monkeypatch)}
    assert taken == {PRECISION, "ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_DEBUG_MODE"}


@pytest.mark.parametrize("value", ["0", "2", "foo", ""])
def test_gradients_are_accumulated_by_params_alone(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", value)
    with pytest.raises(ValueError, match=r"results would change; unset it, and set distill\.micro_batch_size$"):
        check_settings()
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    check_settings()


def test_a_switch_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "perhaps")
    with pytest.raises(ValueError, match=r"^ACCELERATE_USE_CPU is 'perhaps' in the environment, which is none of no, "):
        check_settings()


def test_several_processes_are_refused_for_work_that_they_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    check_shared("fetch", shared=False)
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_shared("fetch", shared=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_shared("pairs", shared=True)
    with pytest.raises(ValueError, match=r"WORLD_SIZE is 2, but .* the stage `fetch`; .*: python -m stages.fetch$"):
        check_shared("fetch", shared=False)
