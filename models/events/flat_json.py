"""A reader of flat JSON objects in bulk: it reads the records that are plain, and marks the others for another reader.

A plain record is what gateways write: one object, ASCII texts without escapes, numbers without exponents, nothing
nested, no field twice, every field within its bounds. A record that is not plain is not rejected here: it may be a
good message all the same. A plain record is read as any JSON reader would read it (RFC 8259).

It reads untrusted bytes at raw addresses, so it must be worth that. With msgspec in its place, the whole core takes
1.13 times the processor time on simulated days of mixed traffic (1.14 with warm caches), 3 µs an event more; where
events are so rare that each chunk holds a few, those 3 µs are 2 to 4 %. `tests/benchmarks/README.md` has the figures,
`PYTHONPATH=. python tests/benchmarks/bench_decoders.py` measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from models.events.flat_json_schema import (
    CAPITALS,
    END_CHOICE,
    FIELD_COLUMNS,
    FIRST_CHOICE,
    INTEGER,
    KIND,
    LENGTH_SHIFT,
    LOWER,
    MAX_FIELDS,
    SLOT_SHIFT,
    TEXT,
    UPPER,
    WORD_COLUMNS,
    Form,
    Ints,
)
from models.events.text_hashing import EACH_BYTE, HIGH_BITS, PADDING, Spans, first_word
from models.jit import byte, compiled, word

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ABSENT: Final = -1
"""The length of a text that is absent or null."""
_MAX_DIGITS: Final = 15
"""So many digits are exact as a double, and so is a power of ten up to it: a division rounds once."""
_TENS: Final = 10.0 ** np.arange(_MAX_DIGITS + 1)
_QUOTE, _OPEN, _CLOSE, _COLON, _COMMA, _MINUS, _POINT, _ZERO, _NINE = (np.uint8(ord(name)) for name in '"{}:,-.09')
_SPACE, _TAB, _FEED, _RETURN = (np.uint8(ord(name)) for name in " \t\n\r")
_SMALL_E, _BIG_E = np.uint8(ord("e")), np.uint8(ord("E"))
_QUOTES, _ESCAPES, _SPACES = (np.uint64(ord(name)) * EACH_BYTE for name in '"\\ ')
_NULL, _TRUE, _FALS = (np.uint64(int.from_bytes(number, "little")) for number in (b"null", b"true", b"fals"))
_FOUR: Final = np.uint64(0xFFFFFFFF)
_NO_BITS: Final = np.uint64(0)
_signed: Final = cast("Callable[[Any], int]", np.int64)


@dataclass(frozen=True, slots=True)
class Scanned:
    """*n* records of a form with *m* fields, as they were read.

    Attributes:
        spans: the place of the text or number of each field, ``(n, m)``; the length is `ABSENT` for an absent field.
        numbers: the numbers, ``(n, m)``; NaN for a field without a number.
        plain: which records were read, ``(n,)``; the values of the others have no meaning.
        sizes: bytes of each record, ``(n,)``.
    """

    spans: Spans
    numbers: Floats
    plain: Bools
    sizes: Ints

    def take(self, chosen: Bools) -> Scanned:
        """Return the *chosen* records."""
        spans = Spans(self.spans.text, self.spans.starts[chosen], self.spans.lengths[chosen])
        return Scanned(spans, self.numbers[chosen], self.plain[chosen], self.sizes[chosen])


def scan(form: Form, values: Sequence[bytes]) -> Scanned:
    """Read *values*, each on its own: a NUL, which JSON may not contain, ends each, so none runs into the next."""
    text = np.frombuffer(b"\0".join(values) + PADDING, np.uint8)
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    ends = np.cumsum(sizes + 1)
    shape = len(values), len(form.fields)
    starts, lengths = np.zeros(shape, np.int64), np.full(shape, ABSENT)
    numbers, plain = np.full(shape, np.nan), np.zeros(len(values), np.bool_)
    tables = form.fields.ctypes.data, form.words.ctypes.data, form.slots.ctypes.data
    _scan(*tables, form.factor, form.needed, text.ctypes.data, ends, starts, lengths, numbers, plain)
    return Scanned(Spans(text, starts, lengths), numbers, plain, sizes)


@compiled
def _scan(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    fields: int,
    words: int,
    slots: int,
    factor: np.uint64,
    needed: np.uint64,
    text: int,
    ends: Ints,
    starts: Ints,
    lengths: Ints,
    numbers: Floats,
    plain: Bools,
) -> None:
    usual = np.full(MAX_FIELDS, -1, np.int64)
    begin = text
    for record in range(ends.size):
        at = _blank(begin)
        at = at + 1 if byte(at) == _OPEN else 0
        seen, present, place = _NO_BITS, _NO_BITS, 0
        while at != 0:
            # Most records have their fields in the same order as the record before.
            field, at = _name(words, slots, factor, _blank(at), usual[place])
            usual[place] = field
            place = min(place + 1, MAX_FIELDS - 1)
            bit = np.uint64(1) << np.uint64(field) if field >= 0 else _NO_BITS
            if at == 0 or seen & bit != 0:
                break
            seen |= bit
            at, length, after, number = _value(fields, words, field, at)
            if after == 0:
                break
            if field >= 0:
                starts[record, field], lengths[record, field] = at - text, length
                numbers[record, field] = number
                present |= bit if length >= 0 else _NO_BITS
            at = _blank(after)
            if byte(at) == _CLOSE:
                plain[record] = _blank(at + 1) == text + ends[record] - 1 and present & needed == needed
                break
            at = at + 1 if byte(at) == _COMMA else 0
        begin = text + ends[record]


@compiled
def _name(words: int, slots: int, factor: np.uint64, at: int, usual: int) -> tuple[int, int]:
    """Return the field named *at* (the *usual* one is tried first), -1 if unknown; and where its value is, or 0."""
    if byte(at) != _QUOTE:
        return -1, 0
    at += 1
    field = usual
    end = at + _signed(_entry(words, WORD_COLUMNS, field, 0)) if field >= 0 else at
    if field < 0 or byte(end) != _QUOTE or not _is_word(words, field, at, end - at):
        end = _text_end(at)
        if end == 0:
            return -1, 0
        mark = first_word(at, end - at) ^ np.uint64(end - at) << LENGTH_SHIFT
        field = _signed(word(slots + 8 * _signed((mark * factor) >> SLOT_SHIFT)))
        if field >= 0 and not _is_word(words, field, at, end - at):
            field = -1
    at = _blank(end + 1)
    return field, _blank(at + 1) if byte(at) == _COLON else 0


@compiled
def _value(  # noqa: PLR0911 - one for each thing a value can be
    fields: int, words: int, field: int, at: int
) -> tuple[int, int, int, float]:
    """Return where the value starts, its length, its end (0 if not plain or not valid for *field*), and its number."""
    first = byte(at)
    if first == _QUOTE:
        at += 1
        end = _text_end(at)
        if end == 0 or (field >= 0 and not _is_text(fields, words, field, at, end - at)):
            return at, 0, 0, np.nan
        return at, end - at, end + 1, np.nan
    if first == _MINUS or _ZERO <= first <= _NINE:
        end, number, whole = _number(at)
        if end == 0 or (field >= 0 and not _is_number(fields, field, number, whole)):
            return at, 0, 0, number
        return at, end - at, end, number
    four = word(at) & _FOUR
    if four == _NULL:
        return at, ABSENT, at + 4, np.nan
    if field < 0 and four == _TRUE:
        return at, 4, at + 4, np.nan
    if field < 0 and four == _FALS and byte(at + 4) == _SMALL_E:
        return at, 5, at + 5, np.nan
    return at, ABSENT, 0, np.nan


@compiled
def _entry(table: int, columns: int, row: int, column: int) -> np.uint64:
    return word(table + 8 * (columns * row + column))


@compiled
def _blank(at: int) -> int:
    while byte(at) == _SPACE or byte(at) == _FEED or byte(at) == _RETURN or byte(at) == _TAB:
        at += 1
    return at


@compiled
def _text_end(at: int) -> int:
    """Return the address of the quote that closes the text starting *at*; 0 if the text is not plain."""
    stops = _stops(word(at))
    while stops == 0:
        at += 8
        stops = _stops(word(at))
    lowest = (stops & (~stops + np.uint64(1))) >> np.uint64(7)
    at += _signed((((lowest - np.uint64(1)) & EACH_BYTE) * EACH_BYTE) >> LENGTH_SHIFT)
    return at if byte(at) == _QUOTE else 0


@compiled
def _stops(loaded: np.uint64) -> np.uint64:
    """Return the highest bit of the first byte of *loaded* at which a plain text ends, and perhaps of later bytes.

    A text ends at a quote, a backslash, below blank or beyond ASCII; bytes are found by Mycroft's borrow test.
    """
    quotes, escapes = loaded ^ _QUOTES, loaded ^ _ESCAPES
    below = (quotes - EACH_BYTE) & ~quotes | (escapes - EACH_BYTE) & ~escapes | (loaded - _SPACES) & ~loaded
    return (below | loaded) & HIGH_BITS


@compiled
def _number(at: int) -> tuple[int, float, bool]:
    """Return the end of the number that starts *at* (0 if not plain), its value, and whether it is a whole number."""
    negative = byte(at) == _MINUS
    at += _signed(negative)
    first, whole = at, np.int64(0)
    while _ZERO <= byte(at) <= _NINE and at - first <= _MAX_DIGITS:
        whole = whole * 10 + _signed(byte(at)) - 48
        at += 1
    digits, decimals = at - first, 0
    if digits == 0 or (digits > 1 and byte(first) == _ZERO):
        return 0, 0.0, False
    if byte(at) == _POINT:
        at += 1
        first = at
        while _ZERO <= byte(at) <= _NINE and at - first <= _MAX_DIGITS:
            whole = whole * 10 + _signed(byte(at)) - 48
            at += 1
        decimals = at - first
        if decimals == 0:
            return 0, 0.0, False
    # An exponent, and whether -0 is a whole number, is left to the other reader.
    if digits + decimals > _MAX_DIGITS or byte(at) == _SMALL_E or byte(at) == _BIG_E or (negative and whole == 0):
        return 0, 0.0, False
    number = whole / _TENS[decimals]
    return at, -number if negative else number, decimals == 0


@compiled
def _is_word(words: int, word_number: int, at: int, length: int) -> bool:
    if _signed(_entry(words, WORD_COLUMNS, word_number, 0)) != length or _entry(
        words, WORD_COLUMNS, word_number, 1
    ) != first_word(at, length):
        return False
    return length <= 8 or _entry(words, WORD_COLUMNS, word_number, 2) == word(at + length - 8)


@compiled
def _of(fields: int, field: int, column: int) -> int:
    return _signed(_entry(fields, FIELD_COLUMNS, field, column))


@compiled
def _is_text(fields: int, words: int, field: int, at: int, length: int) -> bool:
    kind = _of(fields, field, KIND)
    if kind == CAPITALS:
        for place in range(length):
            if not 0x41 <= byte(at + place) <= 0x5A:
                return False
    elif kind != TEXT:
        return False
    first, end = _of(fields, field, FIRST_CHOICE), _of(fields, field, END_CHOICE)
    for number in range(first, end):
        if _is_word(words, number, at, length):
            return True
    return bool(first == end and _of(fields, field, LOWER) <= length <= _of(fields, field, UPPER))


@compiled
def _is_number(fields: int, field: int, number: float, whole: bool) -> bool:  # noqa: FBT001 - compiled code calls by position
    kind = _of(fields, field, KIND)
    if kind < INTEGER or (kind == INTEGER and not whole):
        return False
    return bool(_of(fields, field, LOWER) <= number <= _of(fields, field, UPPER))
