"""BatchNorm's statistics after training: those of the averaged weights, on the batches that would come next."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.schedule import NoiseSchedule
from dmd.params.teacher import Training
from dmd.teacher import batch_norm
from dmd.teacher.network import build_backbone
from dmd.teacher.trainer import TeacherTrainer

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 20, dtype=torch.float64))
BETAS = {"num_train_timesteps": 20, "beta_start": 1e-4, "beta_end": 2e-2}
SETTINGS = Training(
    steps=6,
    batch_size=8,
    learning_rate=1e-2,
    betas=(0.9, 0.99),
    weight_decay=0.0,
    warmup_steps=1,
    ema_decay=0.9,
    label_dropout=0.2,
    max_grad_norm=1.0,
    max_snr=5.0,
    checkpoint_steps=3,
)
PIXELS = torch.arange(12, dtype=torch.uint8)[:, None, None, None].mul(20).repeat(1, 1, 28, 28)
LABELS = torch.arange(12) % 4


@pytest.fixture(autouse=True)
def _few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm, "BATCHES", 3)


def trainer(net_seed: int = 0, **changes: Any) -> TeacherTrainer:
    torch.manual_seed(net_seed)
    backbone = build_backbone({"kind": "teapearce", "width": 8}, BETAS, (1, 28, 28), 5)
    denoiser = Denoiser(backbone, SCHEDULE, "epsilon")
    return TeacherTrainer(denoiser, PIXELS, LABELS, Training(**{**SETTINGS.model_dump(), **changes}), 0)


def statistics(run: TeacherTrainer) -> dict[str, Tensor]:
    return {name: value.cpu().clone() for name, value in run.backbone.state_dict().items() if "running" in name}


class Pointwise(nn.Module):
    """A network that is one BatchNorm of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2, momentum=0.3)

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None, return_dict: bool) -> tuple[Tensor]:
        return (self.norm(x),)


def test_they_are_the_means_over_the_batches_whatever_they_were_before() -> None:
    network = Pointwise()
    network.norm.running_mean.fill_(17.0)
    batches = [{"x_t": torch.randn(5, 2, 4, 4) * k + k, "t": torch.arange(5)} for k in (1, 2, 4)]
    batch_norm.reestimate(Denoiser(network, SCHEDULE, "epsilon"), iter(batches))
    pixels = torch.stack([batch["x_t"].transpose(0, 1).flatten(1) for batch in batches]).double()
    torch.testing.assert_close(network.norm.running_mean.double(), pixels.mean(-1).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.norm.running_var.double(), pixels.var(-1).mean(0), rtol=1e-4, atol=1e-5)
    assert network.norm.momentum == 0.3


def test_a_network_without_batch_norm_asks_for_no_batch() -> None:
    def unasked() -> Any:
        raise AssertionError("a batch was drawn")
        yield

    batch_norm.reestimate(Denoiser(nn.Conv2d(1, 1, 1), SCHEDULE, "epsilon"), unasked())


def test_a_run_ends_with_the_statistics_of_the_averaged_weights(tmp_path: Path) -> None:
    """Held to a pass by hand: a second network with the averaged weights sees the inputs that the first one saw."""
    run, seen = trainer(), []
    save = run.state.save
    run.state.save = lambda *args: (save(*args), seen.clear())  # what is seen after the last save is the estimate
    run.backbone.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    run.run(tmp_path)
    found = statistics(run)
    assert len(seen) == 3

    by_hand = trainer(net_seed=9)
    run.average.copy_to(by_hand.backbone.parameters())
    means: dict[str, list[Tensor]] = {name: [] for name in found}
    for name, layer in by_hand.backbone.named_modules():
        if isinstance(layer, nn.BatchNorm2d):

            def keep(_: Any, args: tuple[Tensor], name: str = name) -> None:
                pixels = args[0].detach().transpose(0, 1).flatten(1)
                means[f"{name}.running_mean"].append(pixels.mean(1))
                means[f"{name}.running_var"].append(pixels.var(1))

            layer.register_forward_pre_hook(keep)
    with torch.no_grad():
        for args, kwargs in seen:
            by_hand.backbone.train()(*args, **kwargs)
    for name, value in found.items():
        torch.testing.assert_close(value, torch.stack(means[name]).mean(0), rtol=1e-3, atol=1e-5)


def test_they_are_the_same_after_a_resumed_run(tmp_path: Path) -> None:
    whole = trainer()
    whole.run(tmp_path)
    again = trainer(net_seed=5)
    again.run(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(statistics(whole).values(), statistics(again).values(), strict=True))
    other = trainer(steps=7)
    other.run(tmp_path / "other")
    name = next(iter(statistics(whole)))
    assert not torch.equal(statistics(whole)[name], statistics(other)[name])
