"""bfloat16 by a param: passes are rounded, weights are not; a launcher's that DVC does not know is refused."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.diffusion.generator import Generator
from dmd.distill.distiller import Distiller
from dmd.params.section import MixedPrecision
from dmd.runtime.launched import PRECISION
from dmd.teacher.trainer import TeacherTrainer
from dmd.training.accelerator import build_accelerator
from tests.distill.test_distiller import build, pairs, teacher
from tests.teacher import test_trainer

__all__ = ["pairs", "teacher"]  # fixtures

KEY = "distill.mixed_precision"


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Accelerate keeps a process' first precision; each test here begins and ends without one."""
    monkeypatch.delenv(PRECISION, raising=False)
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize(
    ("wanted", "launched"), [(None, "bf16"), (None, "fp16"), (None, "fp8"), ("bf16", "fp16"), ("bf16", "fp8")]
)
def test_a_launchers_precision_that_the_param_has_not_is_refused(
    wanted: MixedPrecision, launched: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRECISION, launched)
    said = wanted or "null"
    with pytest.raises(ValueError, match=rf"^{PRECISION} is {launched}, but {KEY} is {said}: .*; set {KEY} instead"):
        build_accelerator(wanted, KEY)


@pytest.mark.parametrize(("wanted", "launched"), [(None, None), (None, "no"), ("bf16", "no"), ("bf16", "bf16")])
def test_the_param_decides(wanted: MixedPrecision, launched: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if launched is not None:
        monkeypatch.setenv(PRECISION, launched)
    assert build_accelerator(wanted, KEY).mixed_precision == (wanted or "no")


def test_a_process_keeps_its_first_precision() -> None:
    """Accelerate has one a process: the cure is another process, not another param."""
    build_accelerator(None, KEY)
    with pytest.raises(ValueError, match=rf"^{KEY} bf16: this process has trained in no before, .*; start another one"):
        build_accelerator("bf16", KEY)


def test_after_a_training_in_bfloat16_the_generator_draws_as_the_saved_one(teacher: Denoiser, pairs: PairStore) -> None:
    """Whoever scores it in this process scores the model that is kept: float32 weights, called in float32."""
    run = build(teacher, pairs, mixed_precision="bf16")
    run.step(0)
    z, labels = torch.randn(3, 1, 8, 8), torch.arange(3)
    with torch.no_grad():
        assert run.student.generator(z, labels).sub(plain(run, teacher)(z, labels)).abs().max() > 1e-4
        run.student.finish(run.accelerator)
        assert torch.equal(run.student.generator(z, labels), plain(run, teacher)(z, labels))


def plain(run: Distiller, teacher: Denoiser) -> Generator:
    """A generator with the same weights that no training has touched."""
    backbone = copy.deepcopy(teacher.backbone)
    backbone.load_state_dict(run.student.backbone.state_dict())
    return Generator(teacher.around(backbone), run.student.generator.timesteps).eval()


def test_a_device_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(mixed_precision: str) -> None:
        raise ValueError(f"{mixed_precision} mixed precision requires a supported device.")

    monkeypatch.setattr("dmd.training.accelerator.Accelerator", without)
    with pytest.raises(ValueError, match=rf"^{KEY} bf16: .* supported device\. Set it to null$"):
        build_accelerator("bf16", KEY)
    with pytest.raises(ValueError, match=r"^no mixed precision"):  # not of this param's making: as it is
        build_accelerator(None, KEY)


def losses(teacher: Denoiser, pairs: PairStore, precision: MixedPrecision, **changes: Any) -> dict[str, Tensor]:
    """Those of the second iteration; weights, their average and AdamW's state are held to be float32."""
    AcceleratorState._reset_state()
    run = build(teacher, pairs, guidance=2.0, warmup_steps=0, mixed_precision=precision, **changes)
    run.step(0)
    record = run.step(1)
    state = [
        value for entry in run.student.learner.optimizer.state_dict()["state"].values() for value in entry.values()
    ]
    kept = [
        *run.student.generator.parameters(),
        *run.critics.mu_fake.parameters(),
        *run.student.average.shadow_params,
        *state,
    ]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    return record


def test_a_distillation_in_bfloat16_is_the_plain_one_but_for_rounding(teacher: Denoiser, pairs: PairStore) -> None:
    plain, rounded = (losses(teacher, pairs, precision) for precision in (None, "bf16"))
    for name, value in plain.items():
        torch.testing.assert_close(rounded[name], value, rtol=0.1, atol=0)
        assert abs(rounded[name] / value - 1) > 1e-5  # far above float32's rounding: the passes were in bfloat16


@pytest.mark.parametrize("changes", [{"micro_batch_size": 2}, {"gradient_checkpointing": True}], ids=str)
def test_memory_is_saved_in_bfloat16_as_in_float32(
    teacher: Denoiser, pairs: PairStore, changes: dict[str, Any]
) -> None:
    """Parts of a batch round apart from the whole, by no more than bfloat16 rounds; checkpointing rounds the same."""
    whole, saving = losses(teacher, pairs, "bf16"), losses(teacher, pairs, "bf16", **changes)
    for name, value in whole.items():
        torch.testing.assert_close(saving[name], value, rtol=0.02 if "micro_batch_size" in changes else 1e-5, atol=0)


def test_the_first_matching_gradient_is_exactly_zero_in_bfloat16(teacher: Denoiser, pairs: PairStore) -> None:
    run = build(teacher, pairs, mixed_precision="bf16")
    batch = run.batch(0)
    x = run.student.generator(batch["z"], batch["labels"]).detach()
    assert run.image_terms(x.detach(), batch)["distribution_matching"][1].abs().max() == 0
    run.step(0)
    assert run.image_terms(x.detach(), batch)["distribution_matching"][1].abs().max() > 0


def test_a_teacher_in_bfloat16_is_the_plain_one_but_for_rounding() -> None:
    def loss(precision: MixedPrecision) -> Tensor:
        AcceleratorState._reset_state()
        trainer: TeacherTrainer = test_trainer.trainer(mixed_precision=precision)
        trainer.update(0)
        assert {parameter.dtype for parameter in trainer.backbone.parameters()} == {torch.float32}
        return trainer.update(1)

    plain, rounded = loss(None), loss("bf16")
    torch.testing.assert_close(rounded, plain, rtol=0.02, atol=0)
    assert abs(rounded / plain - 1) > 1e-5
