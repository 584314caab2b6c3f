"""What every configuration model is made of: the strict base, and kinds of numbers with their ranges."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of every configuration model: frozen, strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(ge=0.001, le=1e12)]
Seconds = Annotated[float, Field(ge=0.0, le=1e8)]
PositiveSeconds = Annotated[float, Field(gt=0.0, le=1e8)]
Bytes = Annotated[int, Field(gt=0)]
