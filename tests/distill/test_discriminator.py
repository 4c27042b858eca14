"""Discriminators: where they start, what they listen to, what they move, and what the generator's loss leaves alone."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dmd.datasets.pairs import PairStore
from dmd.datasets.registry import to_images
from dmd.diffusion.denoiser import Denoiser, denoising_loss
from dmd.distill.discriminator import BottleneckDiscriminator, ConvolutionalDiscriminator, build_discriminator
from dmd.distill.losses import DIVERGENCES, discriminator_loss
from dmd.distill.matching import METHODS
from tests.distill.methods import BOTTLENECK, CONVOLUTIONAL, build_method
from tests.distill.test_distiller import build, pairs, same, teacher, weights

__all__ = ["pairs", "teacher"]  # fixtures

KINDS = {"none": {}, "convolutional": CONVOLUTIONAL, "bottleneck": BOTTLENECK}


def convolutional(teacher: Denoiser, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0) -> Any:
    return build_discriminator("convolutional", 8, teacher, shape, 4, seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_a_convolutional_one_starts_at_zero_for_any_image(teacher: Denoiser, shape: tuple[int, int, int]) -> None:
    network = convolutional(teacher, shape)
    logits = network(50 * images(5, *shape), torch.tensor([0, 20, 50, 80, 99]), torch.arange(5) % 4)
    assert torch.equal(logits, torch.zeros(5))


def test_its_first_weights_are_a_function_of_the_seed(teacher: Denoiser) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, again, other = (weights(convolutional(teacher, seed=seed)) for seed in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


def learned(teacher: Denoiser, steps: int = 60) -> tuple[ConvolutionalDiscriminator, Tensor, Tensor]:
    """Trained to tell bright images from dark ones in class 0 and the other way round in class 1, where t < 50."""
    network = convolutional(teacher)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    bright, dark = 0.3 * images(32, 1, 8, 8) + 0.5, 0.3 * images(32, 1, 8, 8, seed=1) - 0.5
    labels, t = torch.arange(32) % 2, torch.full((32,), 10)
    t[16:] = 90
    flipped = ((labels == 1) ^ (t == 90))[:, None, None, None]
    real, fake = torch.where(flipped, dark, bright), torch.where(flipped, bright, dark)
    for _ in range(steps):
        loss = discriminator_loss(network(real, t, labels), network(fake, t, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval(), real, fake


def test_a_convolutional_one_learns_to_tell_two_sets_apart_by_class_and_time(teacher: Denoiser) -> None:
    """Half of the classes and half of the times turn the sets round: who does not know both is right in half."""
    network, real, fake = learned(teacher)
    labels, t = torch.arange(32) % 2, torch.full((32,), 10)
    t[16:] = 90
    assert (network(real, t, labels) > 0).float().mean() > 0.9
    assert (network(fake, t, labels) < 0).float().mean() > 0.9
    assert (network(real, t, 1 - labels) > 0).float().mean() < 0.5
    assert (network(real, t.flip(0), labels) > 0).float().mean() < 0.5


def test_it_sees_every_noise_level_at_one_scale(teacher: Denoiser) -> None:
    """Images are divided by sqrt(alpha² + sigma²): an EDM schedule's are no larger than a VP schedule's."""
    network, seen = convolutional(teacher), []
    network.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    t, x = torch.tensor([0, 99]), images(2, 1, 8, 8)
    network(x, t, torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(seen[0], x)  # variance preserving
    schedule = copy.copy(network.schedule)
    schedule._tables = {torch.device("cpu"): (torch.ones(100).double(), 80 * torch.ones(100).double())}
    network.schedule = schedule
    network(x, t, torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(seen[1], x / (1 + 80**2) ** 0.5)


def test_a_bottleneck_has_no_weights_and_hears_the_fake_scores_pass(teacher: Denoiser) -> None:
    denoiser, heard = copy.deepcopy(teacher), []
    denoiser.backbone.mid_block.register_forward_hook(lambda _, __, output: heard.append(output))
    discriminator = build_discriminator("bottleneck", 8, denoiser, (1, 8, 8), 4, 0)
    assert isinstance(discriminator, BottleneckDiscriminator)
    assert not isinstance(discriminator, nn.Module)
    x_t, t, labels = images(3, 1, 8, 8), torch.tensor([5, 50, 95]), torch.arange(3)
    denoiser(x_t, t, labels)
    torch.testing.assert_close(discriminator.heard(), heard[0].mean(dim=(1, 2, 3)))
    torch.testing.assert_close(discriminator.logits(x_t, t, labels), heard[0].mean(dim=(1, 2, 3)))


def test_a_network_whose_bottleneck_is_not_known_is_refused(teacher: Denoiser) -> None:
    denoiser = Denoiser(nn.Identity(), teacher.schedule, "epsilon")
    with pytest.raises(ValueError, match=r"Identity: its bottleneck is not known; set .* to convolutional"):
        build_discriminator("bottleneck", 8, denoiser, (1, 8, 8), 4, 0)


def test_a_bottlenecks_loss_moves_the_fake_score(teacher: Denoiser, pairs: PairStore) -> None:
    """The gradient of an update is that of denoising + fake_weight · discriminating, on one pass over both halves."""
    run, seen = build_method(teacher, pairs, discriminator=BOTTLENECK), []
    fake, x, drawn = run.critics.mu_fake, images(4, 1, 8, 8), run.fake_batch(0)
    run.critics.learns_fake.optimizer.optimizer.register_step_pre_hook(
        lambda *_: seen.extend(parameter.grad.clone() for parameter in fake.parameters())
    )
    copied = copy.deepcopy(fake)
    t, labels = drawn["t"], drawn["labels"]
    discriminator = BottleneckDiscriminator(copied)
    x_t = teacher.schedule.add_noise(x, drawn["eps"], t)
    fake_loss = denoising_loss(copied(x_t, t, labels), x, teacher.schedule.snr(t))
    fake_logits = discriminator.heard()
    real_t = teacher.schedule.add_noise(drawn["x_real"], drawn["eps_real"], t)
    loss = discriminator_loss(discriminator.logits(real_t, t, drawn["labels_real"]), fake_logits)
    (fake_loss + 0.5 * loss).backward()
    record = run.critics.update(x, drawn, run._parts, 0)
    assert record["fake"].item() == pytest.approx(fake_loss.item(), rel=1e-4)
    assert record["discriminator"].item() == pytest.approx(loss.item(), rel=1e-4)
    norm = torch.stack([parameter.grad.norm() for parameter in copied.parameters()]).norm()
    assert record["grad_norm_fake"].item() == pytest.approx(norm.item(), rel=1e-3)
    factor = min(1.0, 10.0 / (norm.item() + 1e-6))  # clipped
    for found, parameter in zip(seen, copied.parameters(), strict=True):
        torch.testing.assert_close(found, factor * parameter.grad, rtol=1e-3, atol=1e-4 * float(norm) * factor)


def test_the_real_images_are_the_datasets_through_the_same_path(teacher: Denoiser, pairs: PairStore) -> None:
    run = build_method(teacher, pairs, discriminator=CONVOLUTIONAL)
    pixels, labels = run.batches.real
    known = {image.numpy().tobytes(): int(label) for image, label in zip(to_images(pixels), labels, strict=True)}
    counts: dict[bytes, int] = {}
    for number in range(5):  # an epoch: 20 images, four at a time
        drawn = run.batches.draw_fake(number)
        for image, label in zip(drawn["x_real"], drawn["labels_real"], strict=True):
            assert known[image.numpy().tobytes()] == int(label)
            counts[image.numpy().tobytes()] = counts.get(image.numpy().tobytes(), 0) + 1
        assert not torch.equal(drawn["eps"], drawn["eps_real"])
    assert list(counts.values()) == [1] * 20


def test_without_real_images_a_discriminator_is_refused(teacher: Denoiser, pairs: PairStore) -> None:
    with pytest.raises(ValueError, match=r"discriminator.kind is set, but there are no real images"):
        build(teacher, pairs, discriminator=CONVOLUTIONAL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", METHODS)
def test_the_generators_losses_leave_every_critic_alone(
    teacher: Denoiser, pairs: PairStore, loss: str, kind: str
) -> None:
    run = build_method(teacher, pairs, matching={"loss": loss}, discriminator=KINDS[kind])
    run.step(0)
    modules = [run.mu_real, *(learner.module for name, learner in run.learners.items() if name != "generator")]
    before = [weights(module) for module in modules]
    record, _ = run.update_generator(run.batch(1), 1)
    assert record["grad_norm_generator"] > 0
    assert all(parameter.grad is None for module in modules for parameter in module.parameters())
    assert all(same(old, weights(module)) for old, module in zip(before, modules, strict=True))


LOSSES = [("sid", "reverse_kl"), *(("dmd", name) for name in DIVERGENCES)]
CASES = [(*loss, kind) for loss in LOSSES for kind in KINDS if kind != "none" or loss[1] == "reverse_kl"]


@pytest.mark.parametrize(("loss", "divergence", "kind"), CASES)
def test_the_first_matching_gradient_is_exactly_zero(
    teacher: Denoiser, pairs: PairStore, loss: str, divergence: str, kind: str
) -> None:
    matching = {"loss": loss, "divergence": divergence}
    run = build_method(teacher, pairs, matching=matching, discriminator=KINDS[kind])
    batch = run.batch(0)
    x = run.student.generator(batch["z"], batch["labels"]).detach()
    value, gradient = run.image_terms(x, batch)["distribution_matching"]
    assert value == 0
    assert gradient.abs().max() == 0
    run.step(0)
    assert run.image_terms(x, batch)["distribution_matching"][1].abs().max() > 0
