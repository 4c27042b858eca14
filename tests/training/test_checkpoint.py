"""Files are whole or not there, and an interrupted run goes on as if nothing had happened."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from dmd.runtime import files as checkpoint
from dmd.runtime.files import save_json
from dmd.training.checkpoint import TrainingState

STEPS = 12


class Run:
    """A small training run whose data are functions of the step."""

    def __init__(self, initial_seed: int = 0) -> None:
        torch.manual_seed(initial_seed)
        self.net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))
        optimizer = torch.optim.AdamW(self.net.parameters(), 0.05, (0.9, 0.99), weight_decay=0.01)
        self.lr_scheduler = get_cosine_schedule_with_warmup(optimizer, 3, STEPS)
        self.optimizer = Accelerator().prepare(optimizer)
        self.average = EMAModel(self.net.parameters(), decay=0.9, foreach=True)
        self.state = TrainingState(
            {"net": self.net}, {"net": self.optimizer}, {"net": self.lr_scheduler}, {"net": self.average}
        )

    def step(self, step: int) -> None:
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 3, generator=generator), torch.randn(8, 2, generator=generator)
        (self.net(x) - y).square().mean().backward()
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad()
        self.average.step(self.net.parameters())

    def steps(self, first: int, last: int) -> "Run":
        for step in range(first, last):
            self.step(step)
        return self

    def everything(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "average": dict(enumerate(self.average.shadow_params)),
            "optimizer": self.optimizer.state_dict()["state"],
            "steps": (self.lr_scheduler.last_epoch, self.average.optimization_step),
        }


def assert_identical(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_identical(found[key], expected[key])
    elif isinstance(expected, Tensor):
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("cut", [1, 2, 5, 11])
def test_a_resumed_run_is_bit_identical(cut: int, tmp_path: Path) -> None:
    uninterrupted = Run().steps(0, STEPS)
    Run().steps(0, cut).state.save(tmp_path, cut, {"losses": [0.1, 1 / 3]})
    resumed = Run(initial_seed=99)
    assert resumed.state.resume(tmp_path) == (cut, {"losses": [0.1, 1 / 3]})
    assert_identical(resumed.steps(cut, STEPS).everything(), uninterrupted.everything())


def test_a_record_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    Run().state.save(tmp_path, 1, {"rows": [{"step": 0, "b": 1, "a": 2}]})
    _, record = Run().state.resume(tmp_path)
    assert list(record["rows"][0]) == ["step", "b", "a"]


def test_nothing_saved_is_step_zero(tmp_path: Path) -> None:
    assert Run().state.resume(tmp_path / "missing") == (0, None)


def test_a_checkpoint_is_a_copy(tmp_path: Path) -> None:
    run = Run().steps(0, 2)
    run.state.save(tmp_path, 2, None)
    expected = {name: value.clone() for name, value in run.net.state_dict().items()}
    run.steps(2, 6)
    run.state.resume(tmp_path)
    assert_identical(dict(run.net.state_dict()), expected)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def saved_run(folder: Path) -> None:
    run = Run()
    for step in range(6):
        run.step(step)
        if step % 2 == 1:
            beside = folder / f"beside-{step + 1}"
            beside.write_text("a file that the checkpoint counts on")
            run.state.save(folder, step + 1, {"step": step + 1}, [beside])


def test_two_checkpoints_are_kept_and_nothing_else(tmp_path: Path) -> None:
    saved_run(tmp_path)
    (tmp_path / "tmp").mkdir()  # what a kill while saving leaves
    Run().state.save(tmp_path, 8, None)
    assert checkpoints(tmp_path) == ["beside-2", "beside-4", "beside-6", "step-00000006", "step-00000008"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def flip_digit(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.replace('"step": 6', '"step": 7'))
    assert path.read_text() != text


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


BREAKS = {
    "flipped tensors": lambda folder: flip(folder / "state.safetensors"),
    "truncated tensors": lambda folder: truncate(folder / "state.safetensors"),
    "no tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "truncated numbers": lambda folder: truncate(folder / "state.json"),
    "empty numbers": lambda folder: (folder / "state.json").write_text(""),
    "no numbers": lambda folder: (folder / "state.json").unlink(),
    "other numbers": lambda folder: save_json(folder / "state.json", {"step": 6}),
    "flipped number": lambda folder: flip_digit(folder / "state.json"),
    "no hashes": lambda folder: (folder / "hashes.json").unlink(),
    "empty hashes": lambda folder: save_json(folder / "hashes.json", {}),
    "broken hashes": lambda folder: truncate(folder / "hashes.json"),
    "changed file beside": lambda folder: (folder.parent / "beside-6").write_text("9"),
    "no file beside": lambda folder: (folder.parent / "beside-6").unlink(),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_checkpoint_falls_back_to_the_one_before(broken: str, tmp_path: Path) -> None:
    saved_run(tmp_path)
    BREAKS[broken](tmp_path / "step-00000006")
    run = Run(initial_seed=5)
    assert run.state.resume(tmp_path) == (4, {"step": 4})
    assert_identical(run.everything(), Run().steps(0, 4).everything())


def test_a_broken_checkpoint_is_replaced_when_the_run_comes_by_again(tmp_path: Path) -> None:
    saved_run(tmp_path)
    BREAKS["truncated tensors"](tmp_path / "step-00000006")
    run = Run(initial_seed=5)
    start, _ = run.state.resume(tmp_path)
    run.steps(start, 6).state.save(tmp_path, 6, {"step": 6})
    assert Run().state.resume(tmp_path) == (6, {"step": 6})


def test_a_crash_while_saving_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_run(tmp_path)
    monkeypatch.setattr(checkpoint.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        Run().steps(0, 8).state.save(tmp_path, 8, {"step": 8})
    monkeypatch.undo()
    assert Run().state.resume(tmp_path) == (6, {"step": 6})


def crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_moments_come_back_in_the_memory_format_of_their_weights(tmp_path: Path) -> None:
    """As fused kernels of a GPU ask for; a file keeps none."""

    def made() -> tuple[nn.Module, TrainingState]:
        net = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), 0.1)
        net(torch.randn(2, 4, 5, 5)).square().mean().backward()
        optimizer.step()
        return net, TrainingState({"net": net}, {"net": optimizer}, {}, {})

    net, state = made()
    state.save(tmp_path, 1, None)
    before = {name: value.clone() for name, value in state.optimizers["net"].state[net.weight].items()}
    other, resumed = made()
    resumed.resume(tmp_path)
    found = resumed.optimizers["net"].state[other.weight]
    assert other.weight.stride() != torch.empty(other.weight.shape).stride()
    for name in ("exp_avg", "exp_avg_sq"):
        assert found[name].stride() == other.weight.stride()
        assert torch.equal(found[name], before[name])
