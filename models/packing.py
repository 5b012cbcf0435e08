"""Changelog values of many sessions at once: what `models.state` packs for one, by compiled code.

Most events change a session, so for most events a row is packed: in Python it was a fifth of all work.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import byte, compiled, put_word, word
from models.spans import FOLD, MIX, head, spans_of

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

SUM_BYTES: Final = 4
_SPARE: Final = 8
_BETWEEN: Final = np.uint8(0xFF)


def pack(
    heads: Bytes, bodies: Bytes, names: Sequence[bytes], sides: Sequence[bytes]
) -> list[tuple[bytes, bytes]]:
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
    heads: Bytes, bodies: Bytes, names: int, name_starts: Ints, name_lengths: Ints, sides: int,
    side_starts: Ints, side_lengths: Ints, starts: Ints, packed: int, keys: Ints,
) -> None:  # fmt: skip
    for one in range(starts.size):
        at = packed + starts[one]
        end = _copy(at, heads.ctypes.data + one * heads.shape[1], heads.shape[1])
        end = _copy(end, bodies.ctypes.data + one * bodies.shape[1], bodies.shape[1])
        end = _copy(end, names + name_starts[one], name_lengths[one])
        end = _copy(end, sides + side_starts[one], side_lengths[one])
        put_word(end, _checksum(at, end - at))
        begin = names + name_starts[one]
        end = begin + name_lengths[one]
        keys[one] = _next(_next(begin, end) + 1, end) - begin


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
    for one in range(starts.size):
        sums[one] = np.uint32(_checksum(text + starts[one], max(lengths[one], 0)))


@compiled
def _checksum(at: int, length: int) -> np.uint64:
    total, factor = np.uint64(length), MIX
    for place in range(0, length, 8):
        told = head(at + place, length - place) * MIX
        factor += np.uint64(2)
        total += (told ^ (told >> FOLD)) * factor
    total = (total ^ (total >> FOLD)) * MIX
    return total >> np.uint64(32)
