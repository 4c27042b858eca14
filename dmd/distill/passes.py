"""What an iteration costs, in passes of one image through a network of the teacher's size."""

from dmd.diffusion.guidance import GuidedDenoiser
from dmd.distill.distiller import Distiller

FORWARD = 1.0
WEIGHTS = 2.0
"""A backward pass into weights: as many products again for the weights, and for the inputs."""
INPUTS = 1.0
"""A backward pass into the input alone."""


def passes_per_step(distiller: Distiller) -> float:
    """Forward passes, and backward ones as their operations: a convolution's two gradients cost a pass each.

    A convolutional discriminator, and the one-time warm-up, are not counted.
    """
    settings, matching = distiller.settings, distiller.settings.matching
    fresh, steps = settings.batch_size, len(settings.generator_timesteps)
    rollout = (steps - 1) / 2 * fresh  # the mean number of steps before the one with a gradient
    real = 2 if isinstance(distiller.mu_real, GuidedDenoiser) else 1  # with and without the label
    pairs = settings.pairs_batch_size if distiller.regression_weight > 0 else 0
    total = (fresh + pairs) * (FORWARD + WEIGHTS) + rollout
    if matching.loss == "dmd":
        total += fresh * (real + 1) * FORWARD
    elif matching.loss == "sid":
        total += fresh * (real + 1) * (FORWARD + INPUTS)
    bottleneck = settings.discriminator.kind == "bottleneck"
    if bottleneck and settings.discriminator.weight > 0:
        total += fresh * (FORWARD + INPUTS)
    if bottleneck and matching.divergence != "reverse_kl":
        total += fresh * FORWARD  # its ratio
    if settings.has_critics:
        drawn = (settings.num_fake_updates - 1) * (fresh + rollout) * FORWARD
        trained = 0 if matching.loss == "none" else fresh * (2 if bottleneck else 1) * (FORWARD + WEIGHTS)
        total += drawn + settings.num_fake_updates * trained
    return total
