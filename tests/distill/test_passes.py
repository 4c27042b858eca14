"""What an iteration costs: the formula against hooks on the three networks."""

from typing import Any

import pytest
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore
from dmd.diffusion.denoiser import Denoiser
from tests.distill.methods import BOTTLENECK, CONVOLUTIONAL, TWO, build_method
from tests.distill.test_distiller import pairs, teacher

__all__ = ["pairs", "teacher"]  # fixtures

SILENT = {**BOTTLENECK, "weight": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "dmd": {},
    "dmd, guided": {"guidance": 2.0},
    "dmd, one fake update": {"num_fake_updates": 1},
    "dmd, five": {"num_fake_updates": 5},
    "dmd, no pairs": {"alpha": 0.0},
    "sid": {"matching": {"loss": "sid"}},
    "sid, guided, no pairs": {"matching": {"loss": "sid"}, "guidance": 2.0, "alpha": 0.0},
    "regression": {"matching": {"loss": "none"}},
    "a discriminator alone": {"matching": {"loss": "none"}, "discriminator": CONVOLUTIONAL, "alpha": 0.0},
    "convolutional": {"discriminator": CONVOLUTIONAL},
    "bottleneck": {"discriminator": BOTTLENECK},
    "sid, bottleneck": {"matching": {"loss": "sid"}, "discriminator": BOTTLENECK, "num_fake_updates": 3},
    "bottleneck for its ratio": {"matching": {"divergence": "forward_kl"}, "discriminator": SILENT},
    "both": {"matching": {"divergence": "jensen_shannon"}, "discriminator": BOTTLENECK},
    "two steps": {"generator_timesteps": TWO, "num_fake_updates": 3},
    "the last of two steps": {"generator_timesteps": TWO, "matched_steps": "last", "num_fake_updates": 3},
    "four steps, sid, bottleneck": {
        "generator_timesteps": (80, 60, 40, 20),
        "matching": {"loss": "sid"},
        "discriminator": BOTTLENECK,
    },
}


class Counter:
    """Images that go through a network, each pass by what is differentiated.

    A forward pass is one; a backward pass into an image one more, a backward pass into weights two.
    """

    def __init__(self, network: nn.Module, weights: bool) -> None:
        self.passes, self._backward = 0, 2 if weights else 1
        network.register_forward_hook(self._count)

    def _count(self, module: nn.Module, args: Any, output: tuple[Tensor, ...]) -> None:
        self.passes += len(args[0])
        if output[0].requires_grad:
            into_weights = self._backward if not args[0].requires_grad else 1
            output[0].register_hook(lambda gradient: self._add(into_weights * len(gradient)))

    def _add(self, passes: int) -> None:
        self.passes += passes


@pytest.mark.parametrize("name", CASES)
def test_the_formula_is_the_count(teacher: Denoiser, pairs: PairStore, name: str) -> None:
    """Of all the steps that may be drawn, each as often, where there are several."""
    run = build_method(teacher, pairs, **CASES[name])
    networks = (
        run.student.backbone,
        run.critics.denoiser.backbone,
        getattr(run.mu_real, "denoiser", run.mu_real).backbone,
    )
    counters = [Counter(network, weights=i < 2) for i, network in enumerate(networks)]
    bottleneck = networks[1].mid_block
    if run.settings.discriminator.kind == "bottleneck":  # its loss alone goes back from there, past the output
        bottleneck.register_forward_hook(lambda _, __, output: heard.append(output))
    heard: list[Tensor] = []
    steps = len(run.settings.generator_timesteps)
    drawn = iter(range(10_000))
    if run.settings.matched_steps == "all":
        run.batches.generator_step = lambda number: next(drawn) % steps
    for step in range(steps):
        run.step(step)
    counted = sum(counter.passes for counter in counters)
    if run.settings.discriminator.kind == "bottleneck" and run.settings.discriminator.weight > 0:
        counted += steps * run.settings.batch_size  # the adversarial loss' way back, from the bottleneck
        assert heard
    assert run.passes_per_step == pytest.approx(counted / steps)
