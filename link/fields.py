"""What every configuration model is made of: the strict base, and kinds of numbers with their ranges."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of every configuration model: frozen, strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


MAX_SECONDS = 1e8
"""Three years: above all that a link waits for, and far from where nanoseconds leave 64 bits (292 years)."""


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text without NUL was expected")
    return text


Text = Annotated[str, Field(max_length=4096), AfterValidator(_without_nul)]
"""A path, an address or a sentence. (pydantic refuses lone surrogates itself.)"""
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.001, le=1e12)]
Seconds = Annotated[float, Field(ge=0.0, le=MAX_SECONDS)]
PositiveSeconds = Annotated[float, Field(ge=1e-9, le=MAX_SECONDS)]
"""At least a nanosecond, in which the channel counts."""
Bytes = Annotated[int, Field(gt=0, le=1 << 40)]


# What is not used is not written, so that files and journals of what came before a field stay as they are.


def is_none(value: object) -> bool:
    """Whether a field is not given."""
    return value is None


def is_plain(value: object) -> bool:
    """Whether a list is empty, a switch off, a count 1 or a choice `equal`: what was before there was a choice."""
    return value is False or value in ((), "equal") or (value == 1 and value is not True)
