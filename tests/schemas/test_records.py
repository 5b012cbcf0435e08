"""The types of decoded records have the fields of the models that they describe, and the same types of values."""

from __future__ import annotations

import json
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from pydantic import BaseModel

from schemas.decode import decoder
from schemas.export import EXAMPLES
from schemas.records import RECORD_TYPES
from schemas.topics import SESSION_FINDINGS, TOPICS


def shape(hint: Any) -> Any:
    """A type without bounds and names: models and typed dicts as dicts of their fields, unions as sets."""
    if get_origin(hint) is Annotated:
        return shape(get_args(hint)[0])
    if isinstance(hint, type) and (issubclass(hint, BaseModel) or is_typeddict(hint)):
        hints = get_type_hints(hint, include_extras=True)
        names = hint.model_fields if issubclass(hint, BaseModel) else hints
        return {name: shape(hints[name]) for name in names}
    if get_origin(hint) in {Union, UnionType}:
        return [sorted(map(repr, map(shape, get_args(hint))))]
    if get_origin(hint) in {list, dict}:
        return get_origin(hint), [shape(inner) for inner in get_args(hint)]
    return hint


def test_every_topic_has_a_type_but_the_findings_that_nobody_reads() -> None:
    assert set(RECORD_TYPES) == set(TOPICS) - {SESSION_FINDINGS}


@pytest.mark.parametrize("topic", RECORD_TYPES)
def test_a_type_has_the_fields_of_its_model(topic: str) -> None:
    assert shape(RECORD_TYPES[topic]) == shape(TOPICS[topic].model)


@pytest.mark.parametrize("topic", RECORD_TYPES)
def test_a_decoded_record_has_every_field_of_its_type(topic: str) -> None:
    path = min((EXAMPLES / topic / "valid").glob("*.json"))
    value = json.dumps(json.loads(path.read_text(encoding="utf-8"))).encode()

    assert set(decoder(topic).whole(value)) == set(get_type_hints(RECORD_TYPES[topic]))
