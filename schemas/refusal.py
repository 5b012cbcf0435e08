"""Reasons for rejected records, as a line for people, and the dead letters that contain these records.

The line names the field and what is wrong with it. It shows numbers and the beginning of a wrong word, but never an id,
a token or free text.
"""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from pydantic_core import ErrorDetails, ValidationError

from schemas.decisions import KEPT_BYTES, KEPT_KEY_BYTES, DeadLetter
from schemas.fields import YEAR_2000_MS

REASON_LENGTH = 200
_WORD_LENGTH = 16
_CHOICES_LENGTH = 110

_EXPECTED: dict[str, Callable[[dict[str, Any]], str]] = {
    "bool_type": lambda _: "a boolean",
    "dict_type": lambda _: "an object",
    "finite_number": lambda _: "a finite number",
    "float_type": lambda _: "a number",
    "greater_than_equal": lambda context: _from(context["ge"]),
    "int_from_float": lambda _: "an integer",
    "int_type": lambda _: "an integer",
    "less_than_equal": lambda context: f"≤ {context['le']}",
    "list_type": lambda _: "an array",
    "literal_error": lambda context: _choices(context["expected"]),
    "string_pattern_mismatch": lambda context: f"text that matches {context['pattern']}",
    "string_too_long": lambda context: f"at most {_counted(context['max_length'], 'character')}",
    "string_too_short": lambda context: f"at least {_counted(context['min_length'], 'character')}",
    "string_type": lambda _: "a string",
    "string_unicode": lambda _: "valid UTF-8",
    "too_long": lambda context: f"at most {_counted(context['max_length'], 'item')}",
    "typed_dict_type": lambda _: "an object",
}
_SHOWS_WORD = {"literal_error", "string_pattern_mismatch"}


def refusal(error: ValidationError) -> str:
    """The reason why a record was refused, on one line of at most 200 characters."""
    first, *more = error.errors(include_url=False)
    reason = _sentence(first)
    suffix = f" (and {len(more)} more)" if more else ""
    return one_line(reason, REASON_LENGTH - len(suffix)) + suffix


def reason_kind(reason: str) -> str:
    """The kind of a *reason*, by which rejected records are counted: its field, or the text if there is no field.

    There are only a few dozen kinds, whatever is sent: they contain no number and no name that a sender can choose.

    >>> reason_kind("scopes[4]: must be a string, got 1"), reason_kind("value of 99 bytes, at most 64 are read")
    ('scopes', 'value of N bytes, at most N are read')
    """
    return re.sub(r"\b\d+\b", "N", re.split(r"[:.\[]", reason, maxsplit=1)[0])


def dead_letter(
    topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None, reason: str, at: int
) -> DeadLetter:
    """The dead letter for a record that was rejected *at* (ms) for *reason*.

    It contains the original bytes, up to 512 KiB of the value and 1 KiB of the key: more would not fit a message.
    """
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        key=None if key is None else b64encode(key[:KEPT_KEY_BYTES]).decode(),
        value=None if value is None else b64encode(value[:KEPT_BYTES]).decode(),
        size=0 if value is None else len(value),
        reason=one_line(reason, 512),
        at=at,
    )


def one_line(text: str, length: int) -> str:
    """*text* without line breaks and other unprintable characters, cut to *length* characters."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(printable.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def _sentence(error: ErrorDetails) -> str:
    kind, value = error["type"], error["input"]
    context = error.get("ctx", {})
    if kind == "json_invalid":
        return f"not valid JSON: {context['error']}"
    place = _place(error["loc"])
    if kind == "missing" or (value is None and error["loc"]):
        return f"{place}: is missing"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{place}: {error['msg']}"
    return f"{place}: must be {expected(context)}, got {_shown(value, word=kind in _SHOWS_WORD)}"


def _place(location: tuple[int | str, ...]) -> str:
    if not location:
        return "record"
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return "".join(steps).lstrip(".")


def _shown(value: Any, *, word: bool) -> str:
    if isinstance(value, str):
        return shown_word(value) if word else f"text of {_counted(len(value), 'character')}"
    if isinstance(value, list):
        return f"an array of {_counted(len(value), 'item')}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "an integer of more than 64 bits"
    return "an object" if isinstance(value, dict) else json.dumps(value)


def shown_word(value: str) -> str:
    """The beginning of a wrong word, quoted: enough to recognise a misspelling, too little to reveal a secret."""
    return ascii(value if len(value) <= _WORD_LENGTH else value[: _WORD_LENGTH - 3] + "...")


def _from(minimum: float) -> str:
    return "milliseconds since 1970, from the year 2000 on" if minimum == YEAR_2000_MS else f"≥ {minimum}"


def _choices(expected: str) -> str:
    if len(expected) > _CHOICES_LENGTH:
        expected = expected[:_CHOICES_LENGTH].rpartition(",")[0] + ", …"
    return f"one of {expected}" if "," in expected or " or " in expected else expected


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
