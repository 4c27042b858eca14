"""A network of one's own as a teacher, and its pairs, against Gaussian data whose ODE is solved exactly."""

import re
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

import dmd
from dmd.library.pairs import MemoryStore
from dmd.teacher.network import build_unet
from tests.library.gaussian import MEANS, SCHEDULE, SHAPE, Exact, solution


def teacher(network: nn.Module | None = None, **facts: Any) -> Any:
    return dmd.OwnTeacher(network or Exact(), **{"schedule": SCHEDULE, "image_shape": SHAPE, **facts})


@pytest.mark.maths
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_pairs_are_the_solutions_of_the_ode_whatever_is_predicted(prediction_type: str) -> None:
    pairs = dmd.draw_pairs(
        teacher(Exact(prediction_type), prediction_type=prediction_type), 6, num_steps=100, batch_size=4
    )
    assert pairs.labels is None
    assert pairs.z.std() == pytest.approx(1, abs=0.2)
    torch.testing.assert_close(pairs.x0, solution(pairs.z, torch.full((6,), MEANS[0])), atol=5e-3, rtol=0)


@pytest.mark.maths
def test_classes_come_in_turn_and_guidance_leads_away_from_the_null_class() -> None:
    conditional = teacher(num_classes=2, null_class=True)
    plain, guided = (dmd.draw_pairs(conditional, 4, num_steps=100, guidance_scale=scale) for scale in (1.0, 3.0))
    assert plain.labels.tolist() == [0, 1, 0, 1]
    assert (plain.guidance_scale, guided.guidance_scale) == (1.0, 3.0)
    for pairs, scale in ((plain, 1), (guided, 3)):
        means = torch.tensor([MEANS[2] + scale * (MEANS[label] - MEANS[2]) for label in plain.labels])
        torch.testing.assert_close(pairs.x0, solution(pairs.z, means), atol=5e-3, rtol=0)
    with pytest.raises(ValueError, match=r"guidance_scale 2\.0 needs a null class"):
        dmd.draw_pairs(teacher(num_classes=2), 4, guidance_scale=2.0)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 4, "batch_size": 0}])
def test_no_pairs_and_no_batch_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"draw_pairs: (count|batch_size) 0 is below 1"):
        dmd.draw_pairs(teacher(), **wrong)


def test_solvers_are_told_the_betas_that_the_schedule_was_made_of() -> None:
    betas = DDPMScheduler().betas
    found = teacher(schedule=dmd.NoiseSchedule.from_scheduler(DDPMScheduler())).scheduler_config
    torch.testing.assert_close(torch.tensor(found["trained_betas"]), betas, atol=1e-9, rtol=1e-5)


def test_a_network_of_diffusers_is_taken_as_it_is() -> None:
    network = build_unet((1, 8, 8), 3, (4, 8), 1, (), 2).train()
    found = teacher(network, image_shape=(1, 8, 8), num_classes=2)
    assert found.denoiser.backbone is network
    assert dmd.draw_pairs(found, 2, num_steps=2).x0.shape == (2, 1, 8, 8)
    assert network.training


class Fails(Exact):
    """Ends as a device that runs out of memory does."""

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        raise RuntimeError("out of memory")


@pytest.mark.parametrize("network", [Exact(), Fails()])
def test_each_module_has_its_own_mode_again_whatever_happened(network: nn.Module) -> None:
    network.add_module("frozen", nn.Sequential(nn.Dropout()).eval())
    network.frozen[0].train()
    before = {name: module.training for name, module in network.named_modules()}
    with pytest.raises(RuntimeError, match="out of memory") if isinstance(network, Fails) else nullcontext():
        dmd.draw_pairs(teacher(network), 2, num_steps=2)
    assert {name: module.training for name, module in network.named_modules()} == before
    assert before == {"": True, "frozen": False, "frozen.0": True}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"network": Exact().requires_grad_(False)}, "no parameter of the network requires a gradient"),
        ({"network": nn.Identity()}, "no parameter of the network requires a gradient"),
        ({"prediction_type": "noise"}, "prediction_type 'noise' is unknown; take one of epsilon"),
        ({"schedule": dmd.NoiseSchedule.from_sigmas(torch.linspace(0.1, 9, 10))}, "alpha² + sigma² is 1.01 … 82"),
    ],
)
def test_what_cannot_be_a_teacher_is_refused_at_once(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        teacher(**facts)


class Narrow(Exact):
    """Returns what broadcasting would take for an image."""

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x_t, t, labels)[:, :1]


@pytest.mark.parametrize(
    ("network", "options", "said"),
    [
        (Narrow(), {}, "the network gave (3, 1, 3, 4) for images (3, 2, 3, 4)"),
        (Exact(), {"solver": "ddpm"}, "solver 'ddpm' is ancestral"),
        (Exact(), {"solver": "ddim", "num_steps": 3}, "draw_pairs.num_steps 3 does not divide the schedule's 1000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(network: nn.Module, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        dmd.draw_pairs(teacher(network), 3, **options)


def test_pairs_in_memory_are_read_as_those_of_a_folder_are() -> None:
    pairs = dmd.Pairs(torch.randn(5, *SHAPE), torch.randn(5, *SHAPE), torch.tensor([0, 1, 0, 1, 1]))
    store = MemoryStore(pairs, SHAPE, 2)
    assert (len(store), store.image_shape) == (5, SHAPE)
    found = store.read([4, 0])
    assert found["index"].tolist() == [4, 0]
    assert found["label"].tolist() == [1, 0]
    assert torch.equal(found["x0"], pairs.x0[[4, 0]])


@pytest.mark.parametrize(
    ("changes", "num_classes", "said"),
    [
        ({"x0": torch.zeros(5, 2, 3, 5)}, 2, "pairs.x0 has the shape (5, 2, 3, 5), not (5, 2, 3, 4)"),
        ({"z": torch.zeros(0, *SHAPE)}, 2, "pairs.z has the shape (0, 2, 3, 4)"),
        ({"x0": torch.full((5, *SHAPE), torch.nan)}, 2, "pairs.x0 has values that are not finite"),
        ({"labels": None}, 2, "pairs.labels: the teacher's num_classes is 2"),
        ({}, None, "pairs.labels: the teacher's num_classes is None"),
        ({"labels": torch.tensor([0, 1, 2, 0, 1])}, 2, "pairs.labels: 5 whole numbers of 0 … 1 are needed"),
        ({"labels": torch.tensor([0, 1])}, 2, "pairs.labels: 5 whole numbers of 0 … 1 are needed"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(changes: dict[str, Any], num_classes: int | None, said: str) -> None:
    good = {"z": torch.zeros(5, *SHAPE), "x0": torch.zeros(5, *SHAPE), "labels": torch.tensor([0, 1, 0, 1, 1])}
    with pytest.raises(ValueError, match=re.escape(said)):
        MemoryStore(dmd.Pairs(**{**good, **changes}), SHAPE, num_classes)
