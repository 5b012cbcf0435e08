"""Tables of the fields of a flat message, which compiled code can read, derived from its model.

The model stays the one definition of the message; these tables are another form of it.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

TEXT, CAPITALS, INTEGER, NUMBER = range(4)
"""Kinds of field: text, text of capital letters only, a whole number, any number."""
_KINDS: Final = {"str": TEXT, "literal": TEXT, "int": INTEGER, "float": NUMBER}
_CAPITALS: Final = {"^[A-Z]{2}$": 2}
"""Supported patterns, and how many capital letters each requires."""
_UNDERSTOOD: Final = {"type", "metadata", "min_length", "max_length", "ge", "le", "pattern", "expected"}
_UNBOUNDED: Final = 2**62
_SLOT_BITS: Final = 7
SLOT_SHIFT: Final = np.uint64(64 - _SLOT_BITS)
LENGTH_SHIFT: Final = np.uint64(56)
_MAX_WORD_BYTES: Final = 16
MAX_FIELDS: Final = 64


class Form(NamedTuple):
    """The fields of a message, numbered in the order of the model.

    Attributes:
        fields: a row for each, ``(m, 5)``: see the columns below.
        words: names of fields, then the choices of fields that have choices, ``(w, 3)``: length, first
            eight bytes and last eight, little end first; a shorter one is its bytes and zeros, twice.
        slots: hash table from the hash of a name to the number of its field, -1 for none, ``(128,)``.
        factor: multiplier of that hash, chosen so that no two names collide.
        needed: a bit for each required field.
    """

    fields: Ints
    words: Words
    slots: Ints
    factor: np.uint64
    needed: np.uint64


KIND, LOWER, UPPER, FIRST_CHOICE, END_CHOICE = range(5)
FIELD_COLUMNS: Final = 5
WORD_COLUMNS: Final = 3
"""Columns of `Form.fields`: the kind, the bounds of a number or of a text's length,
and the range of *words* that are its choices, empty for free text."""


def form_of(model: type[BaseModel]) -> Form:
    """Return the tables of *model*.

    Raises:
        TypeError: a field is neither text nor a number, or has a constraint that is not supported here.
    """
    fields = _fields(model.__pydantic_core_schema__)
    if len(fields) > MAX_FIELDS:
        raise TypeError(f"{model.__name__} has {len(fields)} fields, at most {MAX_FIELDS} are read in bulk")
    words = [_word(name) for name in fields]
    factor, slots = _slots(words)
    rows = []
    for name, field in fields.items():
        leaf = _leaf(name, field["schema"])
        first = len(words)
        words += [_word(choice) for choice in leaf.get("expected", ())]
        rows.append((_kind(leaf), *_bounds(leaf), first, len(words)))
    needed = sum(1 << at for at, item in enumerate(fields.values()) if item["schema"]["type"] != "default")
    return Form(np.array(rows, np.int64), np.array(words, np.uint64), slots, np.uint64(factor), np.uint64(needed))


def _fields(schema: Any) -> dict[str, Any]:
    """Return the fields in the core schema of a model, however it is wrapped."""
    while schema["type"] != "model-fields":
        schema = schema["schema"]
    fields: dict[str, Any] = schema["fields"]
    return fields


def _leaf(name: str, schema: Any) -> Any:
    """Return the schema of a value that is present and not null."""
    while schema["type"] in {"default", "nullable", "function-before"}:
        schema = schema["schema"]
    patterned = schema.get("pattern")
    if schema["type"] not in _KINDS or not set(schema) <= _UNDERSTOOD or patterned not in {None, *_CAPITALS}:
        raise TypeError(f"{name}: only bounded texts and numbers can be read in bulk, this is {schema}")
    return schema


def _kind(leaf: Any) -> int:
    return CAPITALS if "pattern" in leaf else _KINDS[leaf["type"]]


def _bounds(leaf: Any) -> tuple[int, int]:
    if "pattern" in leaf:
        return (_CAPITALS[leaf["pattern"]],) * 2
    if leaf["type"] in {"int", "float"}:
        return leaf.get("ge", -_UNBOUNDED), leaf.get("le", _UNBOUNDED)
    return leaf.get("min_length", 0), leaf.get("max_length", _UNBOUNDED)


def _word(text: str) -> tuple[int, int, int]:
    payload = text.encode()
    if not 0 < len(payload) <= _MAX_WORD_BYTES:
        raise TypeError(f"{text!r}: names and choices of at most {_MAX_WORD_BYTES} bytes are read in bulk")
    return len(payload), int.from_bytes(payload[:8], "little"), int.from_bytes(payload[-8:], "little")


def _slots(words: list[tuple[int, int, int]]) -> tuple[int, Ints]:
    """Return the first odd factor that gives each of *words* a slot of its own, and the table of slots."""
    for factor in count(0x9E3779B97F4A7C15, 2):
        marks = [(first ^ length << int(LENGTH_SHIFT)) * factor % 2**64 for length, first, _ in words]
        places = [mark >> int(SLOT_SHIFT) for mark in marks]
        if len(set(places)) == len(places):
            slots = np.full(1 << _SLOT_BITS, -1, np.int64)
            slots[places] = np.arange(len(places))
            return factor % 2**64, slots
    raise AssertionError("there is always one")
