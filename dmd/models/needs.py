"""What params ask of the teacher's network, by what its `config.json` says of it."""

CHECKPOINTED = ("UNet2DModel",)
"""Class names of networks whose blocks can be computed again in the backward pass."""


def check_null_class(guidance_scale: float, num_class_embeds: int | None, num_classes: int | None) -> None:
    """Hold guidance against the network's class embeddings, of which the one on top of the classes means none.

    Raises:
        ValueError: guidance is asked of a network that has no null class.
    """
    if guidance_scale != 1.0 and (num_classes is None or num_class_embeds != num_classes + 1):
        raise ValueError(
            f"guidance_scale {guidance_scale} needs a null class, but the teacher has {num_class_embeds} class "
            f"embeddings for {num_classes} classes; set guidance_scale to 1.0"
        )


def check_checkpointing(wanted: bool, class_name: str) -> None:
    """Hold `distill.gradient_checkpointing` against the class of the network.

    Raises:
        ValueError: it is true, and the network has no blocks for it.
    """
    if wanted and class_name not in CHECKPOINTED:
        raise ValueError(
            f"distill.gradient_checkpointing true: the teacher's network, {class_name}, does not support it; set it to "
            "false, and lower distill.micro_batch_size to save memory"
        )
