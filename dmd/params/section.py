"""What every section of the params shares: bounded numbers, and a class that is frozen and knows all its keys."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Rate = Annotated[float, Field(gt=0, lt=1)]
"""A learning rate."""

Count = Annotated[int, Field(ge=1, strict=True)]
"""How many of something; `1e3` is a float and refused."""

Switch = Annotated[bool, Field(strict=True)]
"""On or off; `1` and `yes` are refused."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""

Decay = Annotated[float, Field(ge=0, lt=1)]
"""How much of a running average is kept at a step."""

MixedPrecision = Literal["bf16"] | None
"""What a training's passes are autocast to, by accelerate's name; none = float32."""

LEAST_SAMPLES = 20
"""The kernel distance splits a set of samples into ten subsets of two or more."""


class Section(BaseModel):
    """Shared settings of all sections: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switches(cls, value: Any, info: Any) -> Any:
        """A truth is no number and no name; pydantic would take it for 1 or 0."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"must not be a boolean (got {value}); none is null")
        return value
