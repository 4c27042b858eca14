"""How a network is called, by its class: from `(network, x, time, condition)` to its output F, of x's channels."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from dmd.types import Condition, Images, PerSample, Timesteps

Call = Callable[[nn.Module, Images, Timesteps | PerSample, Condition | None], Images]
"""One call of a network."""


def positional(network: nn.Module, x: Images, time: Tensor, labels: Condition | None) -> Images:
    """Of a network of pixels: `network(x, time, class_labels=…)`."""
    return network(x, time, class_labels=labels, return_dict=False)[0]


def transformer(network: nn.Module, x: Images, time: Tensor, labels: Condition | None) -> Images:
    """Of a DiT, whose further channels are a learned variance, left out (Peebles & Xie 2023, section 3.1)."""
    return network(x, timestep=time, class_labels=labels, return_dict=False)[0][:, : x.shape[1]]


def text_to_image(network: nn.Module, x: Images, time: Tensor, prompts: Condition | None) -> Images:
    """Of a U-Net whose attention looks at encoded prompts (Rombach et al. 2022, section 3.3)."""
    return network(x, time, encoder_hidden_states=prompts, return_dict=False)[0]


CALLS: dict[str, Call] = {"DiTTransformer2DModel": transformer, "UNet2DConditionModel": text_to_image}
"""By class name; every other network has the call of a `UNet2DModel`."""


def call_of(network: nn.Module) -> Call:
    """The call of a network's class, or of the class that a wrapper says it is `called_as`."""
    return CALLS.get(getattr(network, "called_as", type(network).__name__), positional)


def class_embeds(config: Any) -> int | None:
    """Rows of the table of classes that a network's config asks for, the null class too; None without classes.

    A DiT has a row on top of `num_embeds_ada_norm`, which stands for no label (Peebles & Xie 2023, section 3.2).
    """
    values = config if isinstance(config, Mapping) else vars(config)
    classes = values.get("num_embeds_ada_norm")
    return values.get("num_class_embeds") if classes is None else classes + 1
