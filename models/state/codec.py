"""Changelog values of session rows, thousands at once and by compiled code: encoded, checked and decoded.

A value is a head, the bytes of a row, the session's names, its side table, and a checksum of all that. The head tells
the version of this form, the layout of the row (:mod:`models.state.layout`), the order of the detections and two
lengths. Most events change a session, so most events encode a row: in plain Python that was a fifth of all work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.text_hashing import FOLD_SHIFT, MIX_FACTOR, PART_SEPARATOR, first_word, spans_of
from models.jit import byte, compiled, put_word, word
from models.state.layout import Layout, layout_of, read_by_name
from models.state.table import ROW, Rows, SessionTable, UnreadableRow, scatter

VERSION: Final = 3
WITHOUT_CHECKSUM: Final = 2
"""The version before, which had no checksum: its rows are read, and written anew as their sessions go on."""
HEAD: Final = np.dtype(
    [("version", "u1"), ("layout", "u1", (4,)), ("order", "u1", (4,)), ("names", "<u2"), ("side", "<u4")]
)
"""The start of a changelog value: version, digest of the layout, order of the detections, two lengths in bytes."""
LAYOUT_IN_HEAD: Final = slice(1, 5)
"""Where a value has the digest of its layout."""

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

SUM_BYTES: Final = 4
_SPARE: Final = 8
_BETWEEN: Final = np.uint8(0xFF)
_JOINED: Final = PART_SEPARATOR.encode("utf-8", "surrogateescape")
_HASHED: Final = PART_SEPARATOR.encode("utf-8", "surrogatepass")
"""The separator of names in a changelog key, and in the text from which a fingerprint is made."""


class DecodedRows(NamedTuple):
    """Contents of changelog values: rows ``(n,)``, names, side tables, and the order of detections, ``(n, 4)``."""

    rows: Rows
    names: list[bytes]
    sides: list[bytes]
    orders: NDArray[np.uint8]


def encode(
    rows: Rows, names: Sequence[bytes], sides: Sequence[bytes], order: bytes = bytes(4)
) -> list[tuple[bytes, bytes]]:
    """Changelog keys and values of *rows*, ``(n,)``, with their packed *names* and their side tables, perhaps empty.

    *order* names, in four bytes, the order of the detections whose bits are in ``mask``. A key is the first two of
    the names.
    """
    if not names:
        return []
    heads = np.empty(len(names), HEAD)
    heads["version"], heads["order"] = VERSION, np.frombuffer(order, np.uint8)
    heads["layout"] = np.frombuffer(layout_of(rows.dtype).digest, np.uint8)
    heads["names"] = np.fromiter(map(len, names), np.int64, len(names))
    heads["side"] = np.fromiter(map(len, sides), np.int64, len(sides))
    bodies = np.ascontiguousarray(rows).view(np.uint8).reshape(len(names), -1)
    return _joined(heads.view(np.uint8).reshape(len(names), -1), bodies, names, sides)


def decode_all(
    values: Sequence[bytes], layouts: Mapping[bytes, Layout] | None = None, row_type: np.dtype[Any] = ROW
) -> DecodedRows:
    """The inverse of :func:`encode` for n > 0 *values*, as rows of *row_type*.

    *layouts* are those of other versions by their digests; what is stored in one of them is read by name.

    Raises:
        UnreadableRow: a value is of another version or of a layout that is not known, cut or spoilt; the message
            is about the first such.
    """
    own = layout_of(row_type)
    known = {**(layouts or {}), own.digest: own}
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    if sizes.min() < HEAD.itemsize:
        raise _refusal(values[int(np.argmax(sizes < HEAD.itemsize))], known)
    heads = np.frombuffer(b"".join([value[: HEAD.itemsize] for value in values]), HEAD)
    names, sides = heads["names"].astype(np.int64), heads["side"].astype(np.int64)
    digests, layout = np.unique(np.ascontiguousarray(heads["layout"]).view("<u4"), return_inverse=True)
    found = [known.get(digest.tobytes()) for digest in digests]
    bodies = HEAD.itemsize + np.array([each.row_bytes if each else 0 for each in found], np.int64)[layout.reshape(-1)]
    summed = heads["version"] == VERSION
    readable = summed | (heads["version"] == WITHOUT_CHECKSUM)
    readable &= np.array([each is not None for each in found])[layout.reshape(-1)]
    readable &= sizes == bodies + names + sides + SUM_BYTES * summed
    if readable.all():
        stored = np.frombuffer(b"".join([value[-SUM_BYTES:] for value in values]), "<u4")
        readable = ~summed | (checksums(values) == stored)
    if not readable.all():
        raise _refusal(values[int(np.argmin(readable))], known)
    begins, ends = bodies.tolist(), (bodies + names).tolist()
    lasts = (bodies + names + sides).tolist()
    return DecodedRows(
        _rows(values, [each for each in found if each is not None], layout.reshape(-1), row_type),
        [value[begin:end] for value, begin, end in zip(values, begins, ends, strict=True)],
        [value[end:last] for value, end, last in zip(values, ends, lasts, strict=True)],
        heads["order"],
    )


def _rows(values: Sequence[bytes], layouts: Sequence[Layout], layout: Ints, row_type: np.dtype[Any]) -> Rows:
    """The rows in *values*, each stored in that of *layouts* whose number *layout* tells, ``(n,)``."""
    rows = np.empty(len(values), row_type)
    for number, source in enumerate(layouts):
        chosen = np.flatnonzero(layout == number)
        some = values if len(layouts) == 1 else [values[place] for place in chosen.tolist()]
        body = slice(HEAD.itemsize, HEAD.itemsize + source.row_bytes)
        stored = np.frombuffer(b"".join([value[body] for value in some]), np.uint8)
        if source is layout_of(row_type):
            rows[chosen] = stored.view(row_type)
        else:
            rows[chosen] = read_by_name(stored.reshape(-1, source.row_bytes), source, row_type)
    return rows


def _refusal(value: bytes, known: Mapping[bytes, Layout]) -> UnreadableRow:
    """Why *value* cannot be read."""
    version, digest = value[:1], value[LAYOUT_IN_HEAD]
    if version not in {bytes([VERSION]), bytes([WITHOUT_CHECKSUM])}:
        return UnreadableRow(
            f"a row of version {version.hex() or 'nothing'}, where this worker reads version {VERSION:02x}"
        )
    layout, summed = known.get(digest), SUM_BYTES * (version[0] == VERSION)
    if layout is None and is_whole(value):
        return UnreadableRow(f"a row of layout {digest.hex()}, of which there is no layout record in this partition")
    body = HEAD.itemsize + (layout.row_bytes if layout else 0)
    if layout is None and len(value) >= body:
        return UnreadableRow("a row that does not fit its checksum: it was cut or spoilt")
    head = np.frombuffer(value, HEAD, 1)[0] if len(value) >= body else np.zeros(1, HEAD)[0]
    size = body + int(head["names"]) + int(head["side"]) + summed
    if len(value) != size:
        return UnreadableRow(f"a row of {len(value)} bytes, where {size} are announced: it was cut or spoilt")
    return UnreadableRow("a row that does not fit its checksum: it was cut or spoilt")


def is_whole(value: bytes) -> bool:
    """Whether *value* is of a version that this worker reads, and fits its checksum, whatever its layout is."""
    if len(value) < HEAD.itemsize or value[0] not in {VERSION, WITHOUT_CHECKSUM}:
        return False
    return value[0] != VERSION or int(checksums([value])[0]) == int.from_bytes(value[-SUM_BYTES:], "little")


def keys_of(joined: Sequence[bytes]) -> NDArray[np.uint64]:
    """The index keys of sessions by their changelog keys (:func:`models.state.table.join` of tenant and id)."""
    hashed = (blake2b(names.replace(_JOINED, _HASHED), digest_size=8).digest() for names in joined)
    keys = np.frombuffer(b"".join(hashed), "<u8").astype(np.uint64)
    keys[keys == 0] = 1
    return keys


def put(table: SessionTable, joined: Sequence[bytes], rows: Rows, names: Sequence[bytes]) -> Ints:
    """Store *rows* and packed *names* of the sessions with the changelog keys *joined*, no two of them alike.

    Returns their row numbers, ``(n,)``; a session that has a row keeps its number.
    """
    keys = keys_of(joined)
    places = table.index.find(keys)
    fresh = np.flatnonzero(places < 0)
    if fresh.size:
        tenants = [joined[index].partition(_JOINED)[0].decode("utf-8", "surrogateescape") for index in fresh.tolist()]
        places[fresh] = table.add_all(keys[fresh], tenants)
    for place, packed in zip(places.tolist(), names, strict=True):
        table.names[place] = packed
    scatter(table.rows, places, rows)
    return places


def checksums(values: Sequence[bytes]) -> NDArray[np.uint32]:
    """Checksums of *values* without their last four bytes, which must contain them, little end first.

    It protects not against people but against values that were cut, or spoilt on their way: each word of eight bytes
    is mixed with its place and added up.
    """
    text, starts, lengths = spans_of(values)
    sums = np.empty(len(values), np.uint32)
    _checksums(text.ctypes.data, starts, lengths - SUM_BYTES, sums)
    return sums


def _joined(heads: Bytes, bodies: Bytes, names: Sequence[bytes], sides: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Keys and values of *n* > 0 sessions; *heads* are ``(n, h)``, *bodies* ``(n, b)``."""
    first, second = spans_of(names), spans_of(sides)
    sizes = heads.shape[1] + bodies.shape[1] + first.lengths + second.lengths + SUM_BYTES
    ends = np.cumsum(sizes)
    packed = np.empty(int(ends[-1]) + _SPARE, np.uint8)
    keys = np.zeros(len(names), np.int64)
    _pack(
        np.vstack([heads, np.zeros_like(heads[:1])]),
        np.ascontiguousarray(bodies),
        first.text.ctypes.data,
        first.starts,
        first.lengths,
        second.text.ctypes.data,
        second.starts,
        second.lengths,
        ends - sizes,
        packed.ctypes.data,
        keys,
    )
    whole = packed.tobytes()
    values = [whole[begin:end] for begin, end in pairwise([0, *ends.tolist()])]
    return [(name[:end], value) for name, end, value in zip(names, keys.tolist(), values, strict=True)]


@compiled
def _pack(  # noqa: PLR0913, PLR0917 - compiled: no objects, so everything one by one
    heads: Bytes,
    bodies: Bytes,
    names: int,
    name_starts: Ints,
    name_lengths: Ints,
    sides: int,
    side_starts: Ints,
    side_lengths: Ints,
    starts: Ints,
    packed: int,
    keys: Ints,
) -> None:
    for number in range(starts.size):
        at = packed + starts[number]
        end = _copy(at, heads.ctypes.data + number * heads.shape[1], heads.shape[1])
        end = _copy(end, bodies.ctypes.data + number * bodies.shape[1], bodies.shape[1])
        end = _copy(end, names + name_starts[number], name_lengths[number])
        end = _copy(end, sides + side_starts[number], side_lengths[number])
        put_word(end, _checksum(at, end - at))
        begin = names + name_starts[number]
        end = begin + name_lengths[number]
        keys[number] = _next(_next(begin, end) + 1, end) - begin


@compiled
def _copy(at: int, begin: int, length: int) -> int:
    """Copy *length* bytes and up to seven more, which the next copy overwrites; return where they end."""
    for place in range(0, length, 8):
        put_word(at + place, word(begin + place))
    return at + length


@compiled
def _next(at: int, end: int) -> int:
    """Where the next separator of names is, at most at *end*."""
    while at < end and byte(at) != _BETWEEN:
        at += 1
    return at


@compiled
def _checksums(text: int, starts: Ints, lengths: Ints, sums: NDArray[np.uint32]) -> None:
    for number in range(starts.size):
        sums[number] = np.uint32(_checksum(text + starts[number], max(lengths[number], 0)))


@compiled
def _checksum(at: int, length: int) -> np.uint64:
    total, factor = np.uint64(length), MIX_FACTOR
    for place in range(0, length, 8):
        mixed = first_word(at + place, length - place) * MIX_FACTOR
        factor += np.uint64(2)
        total += (mixed ^ (mixed >> FOLD_SHIFT)) * factor
    total = (total ^ (total >> FOLD_SHIFT)) * MIX_FACTOR
    return total >> np.uint64(32)
