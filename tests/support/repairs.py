"""Mending one record by itself, outside of any chunk."""

from functools import cache
from typing import Any

from pydantic_core import SchemaValidator, ValidationError

from schemas.events import EVENT_TYPES
from schemas.plain import plain_validator
from schemas.repairs import Repairer
from schemas.topics import TOPICS


@cache
def _tools(topic: str) -> tuple[SchemaValidator, Repairer]:
    model = next(model for model in EVENT_TYPES.values() if model is TOPICS[topic].model)
    validator = plain_validator(model)
    return validator, Repairer(model, validator)


def repair(topic: str, value: bytes) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """What is made of a *value* that breaks the contract of a producer's *topic*; `None`: it is refused."""
    validator, mender = _tools(topic)
    try:
        validator.validate_json(value)
    except ValidationError as error:
        return mender.repair(value, error)
    raise AssertionError("nothing is wrong with it")
