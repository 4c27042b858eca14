"""Training a teacher: it learns, resumes bit for bit, weighs and drops as told, and stops before a bad update."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dmd.datasets.registry import to_images
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.rng import Stream, sample_noise
from dmd.diffusion.schedule import NoiseSchedule
from dmd.params.teacher import Training
from dmd.teacher.network import build_unet
from dmd.teacher.trainer import TeacherTrainer
from dmd.training.learner import SETTLE_STEPS

SCHEDULE = NoiseSchedule.from_betas(torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64))
SETTINGS = Training(
    steps=9,
    batch_size=8,
    learning_rate=3e-3,
    betas=(0.9, 0.99),
    weight_decay=0.01,
    warmup_steps=3,
    ema_decay=0.9,
    label_dropout=0.25,
    max_grad_norm=1.0,
    max_snr=5.0,
    checkpoint_steps=3,
)
LABELS = torch.arange(12) % 4
# Each image is flat, with a brightness of its own class: an image tells its label.
PIXELS = (LABELS * 60).to(torch.uint8)[:, None, None, None].expand(12, 1, 8, 8).contiguous()


def trainer(net_seed: int = 0, seed: int = 0, **changes: Any) -> TeacherTrainer:
    torch.manual_seed(net_seed)
    denoiser = Denoiser(build_unet((1, 8, 8), 5, (4, 8), 1, (), 2), SCHEDULE, "epsilon")
    return TeacherTrainer(denoiser, PIXELS, LABELS, Training(**{**SETTINGS.model_dump(), **changes}), seed)


def weights(of: TeacherTrainer) -> list[Tensor]:
    return [parameter.detach().cpu().clone() for parameter in of.backbone.parameters()]


def identical(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(one, other, strict=True))


class Recorder:
    """What the network was called with and what it gave, call by call."""

    def __init__(self, watched: TeacherTrainer) -> None:
        self.calls: list[dict[str, Tensor]] = []
        watched.backbone.register_forward_hook(self._record, with_kwargs=True)

    def _record(self, _: Any, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: tuple[Tensor]) -> None:
        call = {"x_t": args[0], "t": args[1], "labels": kwargs["class_labels"], "output": output[0]}
        self.calls.append({name: value.detach().cpu() for name, value in call.items()})


def test_a_small_set_is_learnt(tmp_path: Path) -> None:
    run = trainer(steps=60, batch_size=16, learning_rate=2e-2, warmup_steps=5, checkpoint_steps=30)
    start = weights(run)
    losses = run.run(tmp_path)
    assert len(losses) == 60
    assert sum(losses[-15:]) < 0.5 * sum(losses[:15])
    assert not identical(start, weights(run))


def test_the_network_ends_with_the_averaged_weights(tmp_path: Path) -> None:
    run = trainer()
    run.run(tmp_path)
    assert identical(weights(run), run.average.shadow_params)
    raw = trainer(net_seed=1)
    raw.state.resume(tmp_path)
    assert not identical(weights(raw), run.average.shadow_params)


def test_the_average_is_an_exponential_one(tmp_path: Path) -> None:
    """ema_t = d_t ema + (1 - d_t) w, with d_t = min(decay, (1 + t) / (10 + t)) as diffusers defines it."""
    run = trainer(steps=4)
    expected = weights(run)
    for step in range(4):
        run.update(step)
        decay = min(0.9, (1 + step) / (10 + step)) if step > 0 else 0.0
        expected = [decay * a + (1 - decay) * b for a, b in zip(expected, weights(run), strict=True)]
    for found, value in zip(run.average.shadow_params, expected, strict=True):
        torch.testing.assert_close(found.cpu(), value, rtol=1e-4, atol=1e-6)


class Killed(Exception):
    """Stands for a kill of the process."""


@pytest.mark.parametrize("before", [True, False], ids=["before the checkpoint", "after the checkpoint"])
def test_an_interrupted_run_ends_bit_for_bit_like_another(
    before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer()
    losses = whole.run(tmp_path / "whole")
    cut = trainer()
    save = cut.state.save

    def killed(folder: Path, step: int, record: Any) -> None:
        if step == 6 and before:
            raise Killed
        save(folder, step, record)
        if step == 6:
            raise Killed

    monkeypatch.setattr(cut.state, "save", killed)
    with pytest.raises(Killed):
        cut.run(tmp_path / "cut")
    resumed = trainer(net_seed=77)
    recorder = Recorder(resumed)
    assert resumed.run(tmp_path / "cut") == losses
    assert len(recorder.calls) == (6 if before else 3)
    assert identical(weights(resumed), weights(whole))
    finished = trainer(net_seed=78)
    assert finished.run(tmp_path / "cut") == losses
    assert identical(weights(finished), weights(whole))


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    assert trainer(seed=1).run(tmp_path / "one") != trainer(seed=2).run(tmp_path / "two")


def test_batches_are_noised_images_with_their_labels_and_the_told_dropout() -> None:
    run = trainer(batch_size=600, max_grad_norm=1e-3)
    recorder = Recorder(run)
    for step in range(2):
        run.update(step)
    eps = sample_noise(0, range(1200), (1, 8, 8), Stream.TEACHER_NOISE)
    x_t, t, labels = (torch.cat([call[name] for call in recorder.calls]) for name in ("x_t", "t", "labels"))
    alpha, sigma = (table[:, None, None, None] for table in (SCHEDULE.alpha(t), SCHEDULE.sigma(t)))
    x0 = (x_t - sigma * eps) / alpha
    truth = LABELS[((x0.mean(dim=(1, 2, 3)) + 1) * 127.5 / 60).round().long()]
    expected = (truth.double() * 60 / 127.5 - 1)[:, None, None, None].expand_as(x0)
    torch.testing.assert_close(x0, expected, rtol=0, atol=2e-3)
    assert torch.bincount(truth).tolist() == [300] * 4
    dropped = labels == 4
    assert torch.equal(labels[~dropped], truth[~dropped])
    share = dropped.double().mean().item()
    assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 1200)
    assert t.min() < 20
    assert t.max() > 980


def test_half_of_the_images_are_seen_in_a_mirror_and_always_the_same() -> None:
    """Of an image that is dark on the left, the means of both halves tell which way round it was seen."""
    size, slope = 600, torch.arange(8, dtype=torch.uint8) * 30
    pixels = slope.expand(12, 1, 8, 8).contiguous()

    def seen(flip: bool, workers: int | None = None) -> Tensor:
        run = trainer(batch_size=size, horizontal_flip=flip, workers=workers)
        run.images = pixels
        x0 = run._ahead(0)["x0"].cpu()
        mirrored = x0[..., 0] > x0[..., -1]
        assert torch.equal(
            torch.where(mirrored.all(-1)[..., None, None], x0.flip(-1), x0), to_images(pixels[:1]).expand_as(x0)
        )
        return mirrored[:, 0, 0]

    assert not seen(False).any()
    flipped = seen(True)
    assert abs(flipped.double().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(size)
    assert torch.equal(seen(True), flipped)
    assert torch.equal(seen(True, workers=2), flipped)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_and_full_dropout(share: float) -> None:
    run = trainer(label_dropout=share)
    recorder = Recorder(run)
    run.update(0)
    assert ((recorder.calls[0]["labels"] == 4) == bool(share)).all()


@pytest.mark.parametrize("max_snr", [0.5, 5.0, 1e9])
def test_the_loss_is_min_snr(max_snr: float) -> None:
    """For an epsilon network Min-SNR weighs the noise's error by min(SNR, max) / SNR (Hang et al. 2023, 3.4)."""
    run = trainer(batch_size=64, max_snr=max_snr)
    recorder = Recorder(run)
    loss = run.update(0).item()
    call = recorder.calls[0]
    eps = sample_noise(0, range(64), (1, 8, 8), Stream.TEACHER_NOISE)
    errors = (call["output"] - eps).square().mean(dim=(1, 2, 3)).double()
    snr = SCHEDULE.snr(call["t"])
    assert loss == pytest.approx((errors * torch.minimum(snr, torch.tensor(max_snr)) / snr).mean().item(), rel=1e-3)


def test_training_on_no_labels() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(build_unet((1, 8, 8), None, (4, 8), 1, (), 2), SCHEDULE, "epsilon")
    assert math.isfinite(TeacherTrainer(denoiser, PIXELS, None, SETTINGS, 0).update(0).item())


def spoil_loss(_: Any, args: Any, output: tuple[Tensor]) -> tuple[Tensor]:
    return (output[0] * float("nan"),)


def spoil_gradient(_: Any, args: Any, output: tuple[Tensor]) -> None:
    output[0].register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize("spoil", [spoil_loss, spoil_gradient])
def test_a_value_that_is_not_finite_changes_nothing_and_ends_the_run(spoil: Any, tmp_path: Path) -> None:
    run = trainer(checkpoint_steps=1)
    update = run.update

    def spoiled(step: int) -> Tensor:
        if step != 4:
            return update(step)
        run.backbone.register_forward_hook(spoil)
        before = weights(run)
        moments = copy.deepcopy(run.learner.optimizer.state_dict()["state"])
        try:
            return update(step)
        finally:
            assert identical(weights(run), before)
            for index, entries in run.learner.optimizer.state_dict()["state"].items():
                assert identical(list(entries.values()), list(moments[index].values()))

    run.update = spoiled
    with pytest.raises(FloatingPointError, match=r"at step 4: loss .*; lower the learning rate"):
        run.run(tmp_path)
    assert trainer(net_seed=3).state.resume(tmp_path)[0] == 4


def test_a_run_ends_soon_after_a_value_that_is_not_finite_however_far_the_next_checkpoint(tmp_path: Path) -> None:
    run = trainer(checkpoint_steps=1000, steps=1000)
    update, done = run.update, []

    def spoiled(step: int) -> Tensor:
        if step == 4:
            run.backbone.register_forward_hook(spoil_loss)
        done.append(step)
        return update(step)

    run.update = spoiled
    with pytest.raises(FloatingPointError, match="at step 4: loss"):
        run.run(tmp_path)
    assert done == list(range(SETTLE_STEPS))
