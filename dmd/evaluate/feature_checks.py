"""Checks of feature vectors, for every distance between them."""

import torch
from torch import Tensor


def check_finite(values: Tensor, what: str) -> None:
    """Refuse values that are not finite.

    Raises:
        ValueError: names how many of `what`.
    """
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ValueError(f"{bad} of {values.numel()} {what} are not finite; look for NaN in the images they come from")


def check_dimensions(first: int, second: int) -> None:
    """Refuse features of two numbers of dimensions.

    Raises:
        ValueError: they differ.
    """
    if first != second:
        raise ValueError(
            f"features of {first} and {second} dimensions cannot be compared; use one feature net for both"
        )
