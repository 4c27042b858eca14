"""The params of the real images, and of where bytes come from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dmd.params.section import Count, Section


class Dataset(Section):
    """The real images."""

    name: Literal["mnist", "fashion_mnist", "cifar10", "celeba", "image_folder", "lfw-faces"]
    """Which reader and which checksums."""
    folder: str | None = None
    """Where the images of `image_folder` lie; `celeba` looks in `downloads/celeba` unless it is set."""
    image_shape: tuple[Count, Count, Count]
    """Channels, height, width."""
    num_classes: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Number of classes; none for an unconditional model."""
    prompts: str | None = None
    """Of a text-to-image teacher: a CSV with the columns `prompt` and `split`, `train` or `test`."""

    @model_validator(mode="after")
    def _has_folder(self) -> "Dataset":
        if self.name == "image_folder" and self.folder is None:
            raise ValueError("name `image_folder` needs `folder`: the folder of images")
        if self.name not in ("image_folder", "celeba") and self.folder is not None:
            raise ValueError(f"folder {self.folder!r} belongs to name `image_folder` or `celeba`; remove it")
        if self.prompts is not None and self.num_classes is not None:
            raise ValueError(
                f"prompts {self.prompts!r} take the place of classes: set num_classes {self.num_classes} to null"
            )
        return self
