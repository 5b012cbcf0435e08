"""Changelog values of many sessions at once: what `models.state.table` packs for one, by compiled code.

Most events change a session, so for most events a row is packed: in Python it was a fifth of all work.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.context_signals import SIGNALS
from models.events.text_hashing import FOLD_SHIFT, MIX_FACTOR, PART_SEPARATOR, first_word, spans_of
from models.features.table import DECAYED_COUNTERS
from models.features.volumes import VOLUMES
from models.jit import byte, compiled, put_word, word
from models.state.table import ROW, Rows, SessionTable, UnreadableRow, scatter

VERSION: Final = 3
UNSUMMED: Final = 2
"""The version before, which had no checksum: its rows are read, and written anew as their sessions go on."""
LAYOUT: Final = blake2b(repr([ROW.descr, DECAYED_COUNTERS, SIGNALS, VOLUMES]).encode(), digest_size=4).digest()
"""Changes with what a row holds, and in which order: a row of another layout is refused, never misread."""
HEAD: Final = np.dtype(
    [("version", "u1"), ("layout", "u1", (4,)), ("order", "u1", (4,)), ("names", "<u2"), ("side", "<u4")]
)
"""What a changelog value begins with: its version and layout, the order of detections, two lengths."""
_layout: Final = np.frombuffer(LAYOUT, np.uint8)

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

SUM_BYTES: Final = 4
_SPARE: Final = 8
_BETWEEN: Final = np.uint8(0xFF)


def pack(heads: Bytes, bodies: Bytes, names: Sequence[bytes], sides: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Keys and values of *n* > 0 sessions: head, body, names, side table and a checksum of all that.

    *heads* are ``(n, h)``, *bodies* ``(n, b)``. The key is the first two of the packed *names*.
    """
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


def checksums(values: Sequence[bytes]) -> NDArray[np.uint32]:
    """What the last four bytes of each of *values* must be, little end first, by all those before them.

    No hash against people, but against what was cut, or spoilt on its way: each word of eight bytes is mixed
    with its place and added up.
    """
    text, starts, lengths = spans_of(values)
    sums = np.empty(len(values), np.uint32)
    _checksums(text.ctypes.data, starts, lengths - SUM_BYTES, sums)
    return sums


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
    """Copy *length* bytes and up to seven more, which what follows overwrites; return where they end."""
    for place in range(0, length, 8):
        put_word(at + place, word(begin + place))
    return at + length


@compiled
def _next(at: int, end: int) -> int:
    """Where the next 0xff is before *end*, which stands between names."""
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
        loaded = first_word(at + place, length - place) * MIX_FACTOR
        factor += np.uint64(2)
        total += (loaded ^ (loaded >> FOLD_SHIFT)) * factor
    total = (total ^ (total >> FOLD_SHIFT)) * MIX_FACTOR
    return total >> np.uint64(32)


_JOINED: Final = PART_SEPARATOR.encode("utf-8", "surrogateescape")
_HASHED: Final = PART_SEPARATOR.encode("utf-8", "surrogatepass")
"""What stands between names in a changelog key, and in what a fingerprint is made of."""


BODY: Final = HEAD.itemsize + ROW.itemsize
_LAYOUT: Final = np.frombuffer(LAYOUT, np.uint8)


class DecodedRows(NamedTuple):
    """What changelog values hold: rows ``(n,)``, names, side tables, in what order detections have bits."""

    rows: Rows
    names: list[bytes]
    sides: list[bytes]
    orders: NDArray[np.uint8]


def decode_all(values: Sequence[bytes]) -> DecodedRows:
    """:func:`models.state.table.decode` of all *values*, of which there is one at least; orders are ``(n, 4)``.

    Raises:
        UnreadableRow: one of them is of another version, or cut; it says so of the first such.
    """
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    if sizes.min() < BODY:
        decode(values[int(np.argmax(sizes < BODY))])
    values_read = np.frombuffer(b"".join([value[-SUM_BYTES:] for value in values]), "<u4")
    packed = np.frombuffer(b"".join([value[:BODY] for value in values]), np.uint8).reshape(-1, BODY)
    heads = packed[:, : HEAD.itemsize].copy().view(HEAD).reshape(-1)
    names, sides = heads["names"].astype(np.int64), heads["side"].astype(np.int64)
    summed = heads["version"] == VERSION
    known = (summed | (heads["version"] == UNSUMMED)) & (heads["layout"] == _LAYOUT).all(axis=1)
    whole = (sizes == BODY + names + sides + SUM_BYTES * summed) & (~summed | (checksums(values) == values_read))
    if not (known & whole).all():
        decode(values[int(np.argmin(known & whole))])
    ends, lasts = (BODY + names).tolist(), (BODY + names + sides).tolist()
    return DecodedRows(
        packed[:, HEAD.itemsize :].copy().view(ROW).reshape(-1),
        [value[BODY:end] for value, end in zip(values, ends, strict=True)],
        [value[end:last] for value, end, last in zip(values, ends, lasts, strict=True)],
        heads["order"],
    )


def keys_of(joined: Sequence[bytes]) -> NDArray[np.uint64]:
    """The index keys of sessions by their changelog keys (:func:`models.state.table.join` of tenant and id)."""
    hashed = (blake2b(payload.replace(_JOINED, _HASHED), digest_size=8).digest() for payload in joined)
    keys = np.frombuffer(b"".join(hashed), "<u8").astype(np.uint64)
    keys[keys == 0] = 1
    return keys


def put(table: SessionTable, joined: Sequence[bytes], rows: Rows, names: Sequence[bytes]) -> Ints:
    """Give the sessions with the changelog keys *joined*, no two alike, these *rows* and packed *names*.

    Returns their row numbers, ``(n,)``: of those that have a row it is the same as before.
    """
    keys = keys_of(joined)
    places = table.index.find(keys)
    fresh = np.flatnonzero(places < 0)
    if fresh.size:
        some = fresh.tolist()
        tenants = [joined[at].partition(_JOINED)[0].decode("utf-8", "surrogateescape") for at in some]
        places[fresh] = table.add_all(keys[fresh], tenants)
    for place, packed in zip(places.tolist(), names, strict=True):
        table.names[place] = packed
    scatter(table.rows, places, rows)
    return places


def encode(
    rows: Rows, names: Sequence[bytes], sides: Sequence[bytes], order: bytes = bytes(4)
) -> list[tuple[bytes, bytes]]:
    """Changelog keys and values: a value is a head, a row's own bytes, its names, its side table, a checksum.

    The head tells version, *order* and lengths. The side table may be empty. *order* names, in four bytes,
    the order of the detections whose bits are in ``mask``. The checksum is of all before it
    (:func:`models.state.codec.checksums`), the key the first two of the names.
    """
    if not names:
        return []
    heads = np.empty(len(names), HEAD)
    heads["version"], heads["layout"], heads["order"] = VERSION, _layout, np.frombuffer(order, np.uint8)
    heads["names"] = np.fromiter(map(len, names), np.int64, len(names))
    heads["side"] = np.fromiter(map(len, sides), np.int64, len(sides))
    bodies = np.ascontiguousarray(rows).view(np.uint8).reshape(len(names), -1)
    return pack(heads.view(np.uint8).reshape(len(names), -1), bodies, names, sides)


def decode(value: bytes) -> tuple[Rows, bytes, bytes, bytes]:
    """What a changelog value holds: ``(row, names, side, order)``; the inverse of :func:`encode`.

    Raises:
        UnreadableRow: the row is of another version, cut or spoilt.
    """
    found, own = value[: 1 + len(LAYOUT)], bytes([VERSION]) + LAYOUT
    if found not in (own, bytes([UNSUMMED]) + LAYOUT):
        raise UnreadableRow(f"a row of version {found.hex() or 'nothing'}, where this worker reads version {own.hex()}")
    body, summed = HEAD.itemsize + ROW.itemsize, SUM_BYTES * (found == own)
    head = np.frombuffer(value, HEAD, 1)[0] if len(value) >= body else np.zeros(1, HEAD)[0]
    end = body + int(head["names"]) + int(head["side"])
    if len(value) != end + summed:
        raise UnreadableRow(f"a row of {len(value)} bytes, where {end + summed} are announced: it was cut or spoilt")
    if summed and int(checksums([value])[0]) != int.from_bytes(value[end:], "little"):
        raise UnreadableRow("a row that does not fit its checksum: it was cut or spoilt")
    row, names = np.frombuffer(value, ROW, 1, HEAD.itemsize).copy(), body + int(head["names"])
    return row, value[body:names], value[names:end], head["order"].tobytes()
