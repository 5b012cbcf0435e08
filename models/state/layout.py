"""Layouts of session rows: which field lies at which byte, so that rows of other versions are read by name.

Versions differ in what a row holds: one more counter, one signal less, a column of another type. Each layout has a
digest, which every row bears, and describes itself in a *layout record*, which lies in the changelog beside the rows.
So an older version can read what a newer one wrote, of which it cannot know, and a newer one what an older one wrote.
A field that is missing in the stored layout has its initial value, 0; one that is unknown here is ignored.

The names in a layout are therefore a stored format. Whoever renames a column, a counter, a signal or a flag adds the
former name to :data:`FORMER_NAMES`; whoever changes a unit or a meaning gives it another name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.batch import CLIENT
from models.events.columns import KINDS, NETWORK_TYPES
from models.events.context_columns import ATTESTATIONS, KNOWN_FLAGS, MALWARE, POSTURE_FLAGS
from models.events.context_signals import SIGNALS
from models.features.decayed_counters import COUNTERS_IN_ROW, SHORT
from models.features.volumes import VOLUMES
from models.state.table import PADDING, SEEN, SOURCES, Rows, UnreadableRow

FORMER_NAMES: Final[Mapping[str, str]] = {}
"""Former names of fields, flags and codes, and the present ones."""
MAX_RECORD_BYTES: Final = 65_536
"""A layout record is refused above that; today's has some 6,000."""
_MAX_NAME: Final = 100
_TYPES: Final = frozenset({"|b1", "|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f4", "<f8"})
_EARLIER: Final = Path(__file__).with_name("earlier_layouts.json")

_ELEMENTS: Final[Mapping[str, Sequence[str]]] = {
    "short_sums": [f"sums.{name}" for name in COUNTERS_IN_ROW[:SHORT]],
    "long_sums": [f"sums.{name}" for name in COUNTERS_IN_ROW[SHORT:]],
    "applied": [f"applied.{topic}" for topic in SOURCES],
    "buckets": [f"buckets.{seen}.{hour}" for seen, hour in product(SEEN, ("this_hour", "last_hour"))],
    "client": [f"client.{name}" for name in CLIENT],
    "place": ["place.latitude", "place.longitude"],
    "former_network": ["former_network.asn", "former_network.prefix"],
    "own_client": ["own_client.asn", "own_client.prefix", "own_client.family"],
    "peaks": [f"peaks.{name}" for name in VOLUMES],
    "usual": [f"usual.{name}" for name in VOLUMES],
}
"""Names of the elements of columns that are arrays; those of the others are called by their place."""


class Field(NamedTuple):
    """One number of a row: its type as numpy writes it, and its first byte."""

    name: str
    type: str
    offset: int


class Flag(NamedTuple):
    """Some bits of a field of bits: *width* of them, from bit *shift* on."""

    name: str
    shift: int
    width: int


def _three_valued(names: Sequence[str]) -> tuple[Flag, ...]:
    return tuple(Flag(name, 2 * index, 2) for index, name in enumerate(names))


_FLAGS: Final[Mapping[str, tuple[Flag, ...]]] = {
    "signals": tuple(Flag(signal.name, bit, 1) for bit, signal in enumerate(SIGNALS)),
    "posture": (
        *_three_valued(POSTURE_FLAGS),
        Flag("malware", 2 * len(POSTURE_FLAGS), max(MALWARE.values()).bit_length()),
    ),
    "known": _three_valued(KNOWN_FLAGS),
    "flags": (Flag("has_case", 0, 1), Flag("revoked", 1, 1), Flag("ended", 2, 1)),
}
_CODES: Final[Mapping[str, tuple[str, ...]]] = {
    "kind": KINDS,
    "network_type": NETWORK_TYPES,
    "attestation": ATTESTATIONS,
}


@dataclass(frozen=True)
class Layout:
    """What a row holds, and where.

    Attributes:
        row_bytes: bytes of a row.
        fields: every number of it.
        flags: of fields of bits, what the bits mean.
        codes: of fields that number something, what the numbers 0, 1, … stand for; 0 is *not known*.
    """

    row_bytes: int
    fields: tuple[Field, ...]
    flags: Mapping[str, tuple[Flag, ...]]
    codes: Mapping[str, tuple[str, ...]]

    @cached_property
    def record(self) -> bytes:
        """The layout record: canonical JSON, the same for the same layout."""
        described = {"row_bytes": self.row_bytes, "fields": self.fields, "flags": self.flags, "codes": self.codes}
        return json.dumps(described, separators=(",", ":"), sort_keys=True).encode()

    @cached_property
    def digest(self) -> bytes:
        """Four bytes that name the layout in the head of each of its rows."""
        return _digest(self.record)

    @cached_property
    def flat(self) -> np.dtype[Any]:
        """A row as a structured type with one number for each field, however they are grouped in columns."""
        names, formats, offsets = zip(*self.fields, strict=True)
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self.row_bytes})


def _digest(record: bytes) -> bytes:
    return blake2b(record, digest_size=4).digest()


@cache
def layout_of(row_type: np.dtype[Any]) -> Layout:
    """The layout of rows of *row_type* (:func:`models.state.table.row_type`) in this version."""
    fields: list[Field] = []
    for column in (name for name in row_type.names or () if name != PADDING):
        column_type, offset = row_type.fields[column][:2]  # type: ignore[index]
        base, count = column_type.base, column_type.itemsize // column_type.base.itemsize
        numbered = [f"{column}.{place}" for place in range(count)] if column_type.shape else [column]
        names = _ELEMENTS.get(column, numbered)
        places = range(offset, offset + column_type.itemsize, base.itemsize)
        fields += [Field(name, base.str, place) for name, place in zip(names, places, strict=True)]
    return Layout(row_type.itemsize, tuple(fields), _FLAGS, _CODES)


@cache
def earlier_layouts() -> Mapping[bytes, Layout]:
    """Layouts of versions that wrote no layout record, by the digests that they gave to them."""
    shipped = json.loads(_EARLIER.read_text(encoding="utf-8"))
    return {bytes.fromhex(name): _checked(each["layout"]) for each in shipped for name in each["digests"]}


def read_record(record: bytes, digest: bytes) -> Layout:
    """The layout that a *record* of the changelog describes.

    Raises:
        UnreadableRow: the record is not that of *digest*, or is no layout that rows could have.
    """
    name = f"the record of layout {digest.hex()}"
    if len(record) > MAX_RECORD_BYTES:
        raise UnreadableRow(f"{name} has {len(record)} bytes, more than {MAX_RECORD_BYTES}")
    if _digest(record) != digest:
        raise UnreadableRow(f"{name} does not fit its digest: it was cut or spoilt")
    try:
        return _checked(json.loads(record))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error).partition("\n")[0][:120]
        raise UnreadableRow(f"{name} describes no row ({type(error).__name__}: {why})") from error


def _checked(described: dict[str, Any]) -> Layout:
    """A layout of its JSON; raises `ValueError`, `TypeError`, `KeyError` or `AttributeError` where it is none."""
    row_bytes = _number(described["row_bytes"], MAX_RECORD_BYTES)
    fields = tuple(Field(_name(name), str(kind), _number(at, row_bytes)) for name, kind, at in described["fields"])
    if not fields or len({field.name for field in fields}) < len(fields):
        raise ValueError("fields must be there, and have different names")
    for field in fields:
        if field.type not in _TYPES:
            raise ValueError(f"{field.name} has the type {field.type[:_MAX_NAME]!r}")
        if field.offset + np.dtype(field.type).itemsize > row_bytes:
            raise ValueError(f"{field.name} ends after the row")
    flags = {
        _name(name): tuple(Flag(_name(flag), _number(shift, 63), _number(width, 64)) for flag, shift, width in row)
        for name, row in described["flags"].items()
    }
    codes = {_name(name): tuple(_name(code) for code in row) for name, row in described["codes"].items()}
    return Layout(row_bytes, fields, flags, codes)


def _name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise TypeError("a name must be a short text")
    return name


def _number(number: Any, limit: int) -> int:
    if type(number) is not int or not 0 <= number <= limit:
        raise ValueError(f"a number must be from 0 to {limit}")
    return number


def read_by_name(stored: NDArray[np.uint8], source: Layout, row_type: np.dtype[Any]) -> Rows:
    """Rows of *row_type* with what *stored*, ``(n, source.row_bytes)``, says under the same names; the rest is 0.

    Numbers keep their values; where a narrower type cannot hold one, it becomes the largest (or smallest) that the
    type can.

    Raises:
        UnreadableRow: a field held fractions and holds whole numbers now.
    """
    target = layout_of(row_type)
    rows = np.zeros(len(stored), row_type)
    old, new = np.ascontiguousarray(stored).view(source.flat).reshape(-1), rows.view(target.flat)
    wanted = {field.name for field in target.fields}
    for field in source.fields:
        name = FORMER_NAMES.get(field.name, field.name)
        if name in wanted:
            values = _translated(old[field.name], field.name, source, target)
            new[name] = _converted(values, new[name].dtype, field.name, source)
    return rows


def _translated(values: NDArray[Any], name: str, source: Layout, target: Layout) -> NDArray[Any]:
    """*values* of the field *name*, with flags and codes as they are numbered in *target*."""
    present = FORMER_NAMES.get(name, name)
    if name in source.flags and present in target.flags and source.flags[name] != target.flags[present]:
        return _moved_flags(values, source.flags[name], target.flags[present])
    if name in source.codes and present in target.codes and source.codes[name] != target.codes[present]:
        return _renumbered(values, source.codes[name], target.codes[present])
    return values


def _moved_flags(values: NDArray[Any], source: Sequence[Flag], target: Sequence[Flag]) -> NDArray[np.uint64]:
    words, moved = values.astype(np.uint64), np.zeros(values.size, np.uint64)
    places = {flag.name: flag for flag in target}
    for flag in source:
        place = places.get(FORMER_NAMES.get(flag.name, flag.name))
        if place is not None:
            bits = words >> np.uint64(flag.shift) & np.uint64(2**flag.width - 1)
            fits = bits < 2**place.width if place.width < 64 else np.ones(bits.size, np.bool_)
            moved |= np.where(fits, bits, 0).astype(np.uint64) << np.uint64(place.shift)
    return moved


def _renumbered(values: NDArray[Any], source: Sequence[str], target: Sequence[str]) -> NDArray[np.int64]:
    """A code that *target* does not have becomes 0, *not known*."""
    numbers = {code: number for number, code in enumerate(target)}
    present = [numbers.get(FORMER_NAMES.get(code, code), 0) for code in source]
    table = np.array([*present, 0], np.int64)
    renumbered: NDArray[np.int64] = table[np.minimum(values.astype(np.int64), len(source))]
    return renumbered


def _converted(values: NDArray[Any], to: np.dtype[Any], name: str, source: Layout) -> NDArray[Any]:
    if values.dtype == to:
        return values
    if values.dtype.kind in "iu" and to.kind in "iu":
        have, can = np.iinfo(values.dtype), np.iinfo(to)
        return np.clip(values, max(have.min, can.min), min(have.max, can.max)).astype(to)
    if to.kind == "b":
        return values != 0
    if values.dtype.kind == "f" and to.kind != "f":
        raise UnreadableRow(
            f"a row of layout {source.digest.hex()}, where {name} is {values.dtype.name}: this worker has it as "
            f"{to.name} and would lose fractions"
        )
    return values.astype(to)
