"""Checkpoints of a training: all that it needs to go on, whole or not there."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dmd.runtime.files import file_sha256, load_json, load_tensors, logger, save_json, save_tensors

KEPT_CHECKPOINTS = 2


HASHES = "hashes.json"


class TrainingState:
    """Everything that a training run needs to go on: weights, optimisers, their schedules, running averages, step.

    Random numbers need no state: they are functions of the seed and the step (`dmd.diffusion.rng`).
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, Optimizer | AcceleratedOptimizer],
        lr_schedulers: Mapping[str, LRScheduler],
        averages: Mapping[str, EMAModel],
    ) -> None:
        """Watch these objects, each under its name."""
        self.modules = modules
        self.optimizers = optimizers
        self.lr_schedulers = lr_schedulers
        self.averages = averages

    def save(self, folder: Path, step: int, record: Any, beside: Sequence[Path] = ()) -> None:
        """Write `folder/step-…`, whole or not at all, with any JSON `record`; older checkpoints but one are removed.

        `beside` names files in `folder` that a run resumed from here counts on: they are hashed with it.
        """
        temporary = folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # what a kill left
        temporary.mkdir(parents=True)
        save_tensors(temporary / "state.safetensors", self._tensors())
        numbers = {
            "step": step,
            "record": record,
            "lr_schedulers": {name: item.last_epoch for name, item in self.lr_schedulers.items()},
            "learning_rates": {name: _learning_rates(item) for name, item in self.optimizers.items()},
            "averages": {name: item.optimization_step for name, item in self.averages.items()},
        }
        save_json(temporary / "state.json", numbers, sort_keys=False)  # a table's columns keep their order
        hashes = {name: file_sha256(temporary / name) for name in ("state.json", "state.safetensors")}
        save_json(temporary / HASHES, hashes | {f"../{path.name}": file_sha256(path) for path in beside})
        target = folder / f"step-{step:08d}"
        shutil.rmtree(target, ignore_errors=True)  # a broken one that `resume` passed over
        os.replace(temporary, target)
        for old in sorted(folder.glob("step-*"))[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)

    def resume(self, folder: Path) -> tuple[int, Any]:
        """Load the newest whole checkpoint; returns its step and record, or (0, None) where there is none."""
        for path in sorted(folder.glob("step-*"), reverse=True):
            if _is_whole(path):
                numbers = load_json(path / "state.json")
                self._restore(load_tensors(path / "state.safetensors"), numbers)
                return numbers["step"], numbers["record"]
            logger.warning("%s is broken; the checkpoint before it is taken", path)
        return 0, None

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, average in self.averages.items():
            tensors |= {f"average.{name}.{i}": value for i, value in enumerate(average.shadow_params)}
        for name, optimizer in self.optimizers.items():
            for index, entries in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{name}.{index}.{key}": torch.as_tensor(value) for key, value in entries.items()}
        return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}

    def _restore(self, tensors: dict[str, Tensor], numbers: Any) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        for name, module in self.modules.items():
            module.load_state_dict(under(f"module.{name}."))
        for name, average in self.averages.items():
            saved = under(f"average.{name}.")
            for i, shadow in enumerate(average.shadow_params):
                shadow.copy_(saved[str(i)])
            average.optimization_step = numbers["averages"][name]
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in under(f"optimizer.{name}.").items():
                index, entry = key.split(".", 1)
                state.setdefault(int(index), {})[entry] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
            _lay_out_as_weights(optimizer)
        for name, lr_scheduler in self.lr_schedulers.items():
            lr_scheduler.load_state_dict({**lr_scheduler.state_dict(), "last_epoch": numbers["lr_schedulers"][name]})
        for name, rates in numbers["learning_rates"].items():
            for group, rate in zip(self.optimizers[name].param_groups, rates, strict=True):
                group["lr"] = rate


def _lay_out_as_weights(optimizer: Optimizer | AcceleratedOptimizer) -> None:
    """Moments in the memory format of their weights, which fused kernels ask for and a file does not keep."""
    for group in optimizer.param_groups:
        for weights in group["params"]:
            for key, value in optimizer.state.get(weights, {}).items():
                if value.shape == weights.shape and value.stride() != weights.stride():
                    optimizer.state[weights][key] = torch.empty_like(weights, dtype=value.dtype).copy_(value)


def _is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is there, with the bytes that were written."""
    try:
        hashes = load_json(checkpoint / HASHES)
        return bool(hashes) and all(file_sha256(checkpoint / name) == sha256 for name, sha256 in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _learning_rates(optimizer: Optimizer | AcceleratedOptimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]
