"""What every `config.json` of a network is held to: bounds of its numbers, and how what is wrong is said."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from dmd.params.section import Section

Checked = TypeVar("Checked", bound=Section)

Size = Annotated[int, Field(ge=1, le=2**16, strict=True)]
Scale = Annotated[float, Field(ge=1e-3, le=1e3, strict=True)]
Small = Annotated[float, Field(gt=0, lt=1, strict=True)]


class NetworkConfig(Section):
    """The keys that shape a network, beside those that `dmd.models.compatibility` compares with the params."""

    model_config = ConfigDict(extra="ignore")  # diffusers writes its version too, and reads what it knows

    @property
    def timesteps(self) -> int | None:
        """How many timesteps the network has a row for; None where it takes any."""
        return None

    @property
    def own_schedule(self) -> dict[str, Any]:
        """The values of `teacher.schedule` that the network was made for, where it knows any."""
        return {}

    @property
    def takes_levels(self) -> bool:
        """Whether the network may be told EDM's noise levels for timesteps: fractions, and below zero."""
        return False


def validate(kind: type[Checked], values: Mapping[str, Any], file: str) -> Checked:
    """`values` as a section of this kind.

    Raises:
        ValueError: a value is of another type or out of bounds; names file, key, value and what is allowed.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        what = f"{key} is {values.get(key)!r:.100}: " if key else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{file}: {what}{message}; set teacher.source to a teacher that fits") from error
