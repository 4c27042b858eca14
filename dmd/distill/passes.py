"""What an iteration costs, in passes of one image through a network of the teacher's size."""

from dmd.params.distill import Distill

FORWARD = 1.0
WEIGHTS = 2.0
"""A backward pass into weights: as many products again for the weights, and for the inputs."""
INPUTS = 1.0
"""A backward pass into the input alone."""

SCORE_PASSES = {"dmd": FORWARD, "sid": FORWARD + INPUTS, "none": 0.0}
"""Of an image through one score, by the matching loss."""


def passes_per_step(settings: Distill, *, regression: bool, guided: bool) -> float:
    """Forward passes, and backward ones as their operations: a convolution's two gradients cost a pass each.

    A convolutional discriminator, and the one-time warm-up, are not counted.

    Args:
        settings: the section `distill`.
        regression: whether alpha is above 0.
        guided: whether the real score is guided: then it runs with and without the label.
    """
    fresh, steps = settings.batch_size, len(settings.generator_timesteps)
    before = steps - 1 if settings.matched_steps == "last" else (steps - 1) / 2
    rollout = before * fresh  # the mean number of steps before the one with a gradient
    pairs = settings.pairs_batch_size if regression else 0
    total = (fresh + pairs) * (FORWARD + WEIGHTS) + rollout
    scores = fresh * (3 if guided else 2)
    total += scores * SCORE_PASSES[settings.matching.loss]
    bottleneck = settings.discriminator.kind == "bottleneck"
    if bottleneck and settings.discriminator.weight > 0:
        total += fresh * (FORWARD + INPUTS)
    if bottleneck and settings.matching.divergence != "reverse_kl":
        total += fresh * FORWARD  # its ratio
    if settings.has_critics:
        drawn = (settings.num_fake_updates - 1) * (fresh + rollout) * FORWARD
        trained = 0 if settings.matching.loss == "none" else fresh * (2 if bottleneck else 1) * (FORWARD + WEIGHTS)
        total += drawn + settings.num_fake_updates * trained
    return total
