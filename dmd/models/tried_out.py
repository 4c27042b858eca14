"""A network tried out by its config alone, on torch's meta device: built without memory or values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from diffusers import ModelMixin

from dmd.types import Images

Given = TypeVar("Given")

LARGEST = 10**10
"""Parameters of a network, forty gigabytes: a config that asks for more is damaged."""


def try_out(
    kinds: Mapping[str, type[ModelMixin]],
    config: Mapping[str, Any],
    image_shape: Sequence[int],
    send: Callable[[ModelMixin, Images], Given],
    where: str,
) -> Given:
    """What `send` gives for the network of a config, one of `kinds`, and an image of `image_shape`.

    Raises:
        ValueError: it cannot be built, is too large, or `send` fails; names `where`, the file and the keys that decide.
    """
    name = config["_class_name"]
    try:
        with torch.device("meta"), torch.no_grad():
            network = kinds[name].from_config(dict(config))
            size = sum(parameter.numel() for parameter in network.parameters())
            if size > LARGEST:
                raise ValueError(f"it would have {size:,} parameters")
            return send(network, torch.empty(1, *image_shape))
    except Exception as error:  # diffusers' and torch's own: they have no common name
        raise ValueError(
            f"{where}: no {name} of this config takes images of {list(image_shape)}: "
            f"{str(error).partition(chr(10))[0] or type(error).__name__}; set teacher.source to a teacher that fits"
        ) from error
