"""A run that runs away, named at its first sign, with the params to change."""

from collections.abc import Sequence
from itertools import pairwise

from dmd.distill.health import Row

LAG = 2.0
"""A fake score whose loss is above so many times the teacher's on its own images no longer follows the generator."""

NARROW = 0.5
"""Images that vary less than so many times as much as the pairs' are on their way to be alike."""

SURE = 0.95
"""A discriminator that is right so often gives the generator little to go by."""


def first_sign(rows: Sequence[Row]) -> str | None:
    """A sentence on the newest row of a health table, where it and the row before show a sign and no row before did.

    One row may be chance, so two are asked for; a sign is told once, when its second row is there. Several signs that
    come together are told together.
    """
    told = []
    for sign, sentence in SIGNS:
        twice = [first and second for first, second in pairwise(sign(row) for row in rows)]
        if twice and twice[-1] and not any(twice[:-1]):
            told.append(sentence.format(**rows[-1]))
    return f"update {rows[-1]['step']}: {'; '.join(told)}" if told else None


SIGNS = (
    (
        lambda row: row.get("fake_lag", 0) > LAG,
        "the fake score lags: its loss is {fake_lag:.1f} times a teacher's on its own images. Raise "
        "distill.num_fake_updates, lower distill.learning_rate_generator, or lower the upper end of "
        "distill.matching.noise",
    ),
    (
        lambda row: row["variety"] < NARROW,
        "the images vary {variety:.2f} times as much as the pairs'. Raise alpha or distill.num_fake_updates, or lower "
        "distill.matching.guidance_scale",
    ),
    (
        lambda row: row.get("discriminator_accuracy", 0) > SURE,
        "the discriminator is right in {discriminator_accuracy:.0%}: it has outrun the generator. Lower "
        "distill.discriminator.learning_rate or distill.discriminator.weight",
    ),
)
"""What is a sign, and what is said of it."""
