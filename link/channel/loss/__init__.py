"""Loss models by name. A model is a file here, which holds all that is particular to it, and a row in the table."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from link.channel.loss.bernoulli import BernoulliLoss
from link.channel.loss.codewords import CodewordLoss
from link.channel.loss.fades import FadeLoss
from link.channel.loss.gilbert_elliott import GilbertElliottLoss
from link.channel.loss.model import LossModel, Lost, Timed, TimedLossModel
from link.channel.loss.pattern import PatternLoss

__all__ = ["LOSS_MODELS", "Loss", "LossModel", "Lost", "Timed", "TimedLossModel", "loss_words", "read_loss"]

LOSS_MODELS: dict[str, type[LossModel]] = {
    "pattern": PatternLoss,
    "bernoulli": BernoulliLoss,
    "gilbert_elliott": GilbertElliottLoss,
    "codewords": CodewordLoss,
    "fades": FadeLoss,
}


@cache
def _adapter(models: tuple[type[LossModel], ...]) -> TypeAdapter[LossModel]:
    union: Any = models[0]
    for other in models[1:]:
        union = union | other
    if len(models) > 1:
        union = Annotated[union, Field(discriminator="model")]
    return TypeAdapter(union)


def read_loss(tree: Any) -> LossModel:
    """Return the loss model that *tree* describes: a mapping as it stands in a scenario, or a model itself.

    Raise ValidationError (a ValueError) for a name that is not in the table, or fields that are not the model's.
    """
    return _adapter(tuple(LOSS_MODELS.values())).validate_python(tree)


def loss_words(tree: Mapping[str, Any]) -> str:
    """Return what the loss model in *tree* does to packets, also where it is of another version's."""
    try:
        return read_loss(tree).words()
    except ValueError:
        return f"loses packets by the model {tree.get('model')!r}, which this farlink does not know"


class _FromTable:
    """Has pydantic look a field's model up in the table when it reads, writes or describes the field."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            read_loss, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value)
        )

    @staticmethod
    def __get_pydantic_json_schema__(_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_adapter(tuple(LOSS_MODELS.values())).core_schema)


Loss = Annotated[LossModel, _FromTable]
"""A configuration's field that holds one of the models in `LOSS_MODELS`."""
