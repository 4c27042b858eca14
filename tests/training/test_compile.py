"""Compiled networks: the same numbers but for rounding, the same names; without a compiler, a refusal."""

import copy
import shutil
from pathlib import Path

import pytest
import torch

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from dmd.pairs.recipe import PairRecipe, make_pairs
from dmd.training.compile import compile_network
from tests.distill.test_distiller import SCHEDULER, build, pairs, teacher

__all__ = ["pairs", "teacher"]  # fixtures

CPU = torch.device("cpu")
compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")


def test_a_cpu_without_a_compiler_is_refused(
    teacher: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"^pairs.compile true: .* no g\+\+; install one, or set it to"):
        compile_network(teacher.backbone, CPU, "pairs.compile")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="no no-such-compiler"):
        compile_network(teacher.backbone, CPU, "pairs.compile")


@compiles
@pytest.mark.slow
def test_pairs_of_a_compiled_teacher_are_its_pairs(teacher: Denoiser) -> None:
    recipe = PairRecipe(0, (1, 8, 8), 4, 1.0, SCHEDULER, "ddim", 5, "leading")
    compiled = copy.deepcopy(teacher)
    compile_network(compiled.backbone, CPU, "pairs.compile")
    one, other = make_pairs(teacher, recipe, range(6)), make_pairs(compiled, recipe, range(6))
    torch.testing.assert_close(other["x0"], one["x0"], rtol=0, atol=1e-4)
    assert not torch.equal(other["x0"], one["x0"])  # else nothing was compiled
    assert compiled.state_dict().keys() == teacher.state_dict().keys()


@compiles
@pytest.mark.slow
def test_a_compiled_distillation_is_the_plain_one(teacher: Denoiser, pairs: PairStore) -> None:
    records = []
    for compiled in (False, True):
        distiller = build(teacher, pairs, warmup_steps=0, num_fake_updates=1, compile=compiled)
        networks = (distiller.student.backbone, distiller.critics.mu_fake.backbone, distiller.mu_real.backbone)
        assert {network._compiled_call_impl is not None for network in networks} == {compiled}
        first = distiller.step(0)
        assert first["distribution_matching"] == 0  # mu_fake is mu_real to the bit, compiled too
        records.append({**distiller.step(1), "weight": next(distiller.student.generator.parameters()).sum()})
    for name, value in records[0].items():
        torch.testing.assert_close(records[1][name], value, rtol=1e-3, atol=1e-5)
        assert value != 0
