"""Low-rank adapters: generator and fake score as small differences from one base network, which is the real score.

`W x + B A x` in the attentions' projections (Hu et al. 2021, arXiv 2106.09685), by `peft`, which only these functions
import, as it is not there without the extra `text`. B starts at zero, so that both begin as the base, to the bit.
"""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from dmd.models.backbones import OF_TEXT
from dmd.runtime.files import whole_folder

GENERATOR, FAKE = "generator", "fake"

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""What is adapted: the projections of every attention, those that most published adapters of this network have."""

FOLDER = "lora"
"""Of the generator's adapter, in the generator's folder."""


class Adapted(nn.Module):
    """The base with one adapter switched on, or none; its parameters and its state are that adapter's alone.

    So an optimiser, a running average or a checkpoint sees nothing of the base, of which there is one for all. What was
    computed with one adapter keeps its graph when another is switched on.
    """

    def __init__(self, base: Any, adapter: str | None) -> None:
        """Take a base that has the adapter; None is the base as it was."""
        super().__init__()
        self._shared, self.adapter = (base,), adapter  # in a tuple, so that the base is no part of this module
        self.called_as, self.config = type(base).__name__, base.config
        self.weights = nn.ParameterList(weight for name, weight in adapters(base) if name == adapter)

    @property
    def base(self) -> Any:
        """The network that all share."""
        return self._shared[0]

    def forward(self, *told: Any, **named: Any) -> Any:
        """As the base is called."""
        switch(self.base, self.adapter)
        return self.base(*told, **named)

    def fused(self) -> ModelMixin:
        """A copy of the base with the adapter's product added to its weights, as a plain network."""
        switch(self.base, self.adapter)
        network = copy.deepcopy(self.base)
        network.fuse_lora(adapter_names=[self.adapter])
        network.unload_lora()
        return network

    def tensors(self) -> dict[str, Tensor]:
        """The adapter's weights by the names that `load_lora_weights` reads."""
        from peft import get_peft_model_state_dict

        return get_peft_model_state_dict(self.base, adapter_name=self.adapter)


def adapters(base: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every weight of an adapter, with the adapter's name."""
    for name, weight in base.named_parameters():
        parts = ["", "", *name.split(".")]
        if parts[-3] in ("lora_A", "lora_B"):
            yield parts[-2], weight


def switch(base: Any, adapter: str | None) -> None:
    """Let the base be called with this adapter alone, or with none.

    peft holds the others' gradients off, which would also lose those of graphs that are already there. It walks through
    all modules, so nothing is done where this adapter is on already.
    """
    if getattr(base, "_dmd_adapter", "unknown") == adapter:
        return
    if adapter is None:
        base.disable_adapters()
    else:
        base.enable_adapters()
        base.set_adapter(adapter)
    for _, weight in adapters(base):
        weight.requires_grad_(True)
    base._dmd_adapter = adapter


def adapt(network: ModelMixin, rank: int, seed: int) -> tuple[Adapted, Adapted, Adapted]:
    """Generator, fake score and real score over one copy of `network`; A is a function of the seed, B is zero."""
    from peft import LoraConfig

    base: Any = copy.deepcopy(network)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # two adapters are meant
        torch.manual_seed(seed)
        for name in (GENERATOR, FAKE):
            base.add_adapter(config, adapter_name=name)
    for _, weight in adapters(base):
        weight.requires_grad_(True)  # also of the one that is off: several processes would not share it
    base.eval()
    return Adapted(base, GENERATOR), Adapted(base, FAKE), Adapted(base, None)


def size(network: nn.Module) -> int:
    """Parameters of a network; of an adapted one, of the plain network that it is fused into."""
    whole = network.base if isinstance(network, Adapted) else network
    return sum(weight.numel() for weight in whole.parameters()) - sum(weight.numel() for _, weight in adapters(whole))


def check_adapted(class_name: str) -> None:
    """Hold `distill.lora` against the teacher's network.

    Raises:
        ValueError: the network is none of text; names the cure.
    """
    if class_name != OF_TEXT:
        raise ValueError(f"distill.lora: {class_name} is trained whole, only networks of text are adapted; set to null")


def save_adapter(folder: Path, adapted: Adapted) -> None:
    """Write `pytorch_lora_weights.safetensors`, which `StableDiffusionPipeline.load_lora_weights` reads."""
    from diffusers import StableDiffusionPipeline

    with whole_folder(folder) as part:
        StableDiffusionPipeline.save_lora_weights(part, unet_lora_layers=adapted.tensors())
