"""Many sessions at once, as a changelog brings them: what `models.state` does for one, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.fingerprint import BETWEEN
from models.packing import SUM_BYTES, checksums
from models.state import HEAD, LAYOUT, ROW, UNSUMMED, VERSION, Rows, SessionTable, decode, scatter

Ints = NDArray[np.int64]
_JOINED: Final = BETWEEN.encode("utf-8", "surrogateescape")
_HASHED: Final = BETWEEN.encode("utf-8", "surrogatepass")
"""What stands between names in a changelog key, and in what a fingerprint is made of."""


BODY: Final = HEAD.itemsize + ROW.itemsize
_LAYOUT: Final = np.frombuffer(LAYOUT, np.uint8)


class Told(NamedTuple):
    """What changelog values hold: rows ``(n,)``, names, side tables, in what order detections have bits."""

    rows: Rows
    names: list[bytes]
    sides: list[bytes]
    orders: NDArray[np.uint8]


def decode_all(values: Sequence[bytes]) -> Told:
    """:func:`models.state.decode` of all *values*, of which there is one at least; orders are ``(n, 4)``.

    Raises:
        UnreadableRow: one of them is of another version, or cut; it says so of the first such.
    """
    sizes = np.fromiter(map(len, values), np.int64, len(values))
    if sizes.min() < BODY:
        decode(values[int(np.argmax(sizes < BODY))])
    told = np.frombuffer(b"".join([value[-SUM_BYTES:] for value in values]), "<u4")
    packed = np.frombuffer(b"".join([value[:BODY] for value in values]), np.uint8).reshape(-1, BODY)
    heads = packed[:, : HEAD.itemsize].copy().view(HEAD).reshape(-1)
    names, sides = heads["names"].astype(np.int64), heads["side"].astype(np.int64)
    summed = heads["version"] == VERSION
    known = (summed | (heads["version"] == UNSUMMED)) & (heads["layout"] == _LAYOUT).all(axis=1)
    whole = (sizes == BODY + names + sides + SUM_BYTES * summed) & (~summed | (checksums(values) == told))
    if not (known & whole).all():
        decode(values[int(np.argmin(known & whole))])
    ends, lasts = (BODY + names).tolist(), (BODY + names + sides).tolist()
    return Told(
        packed[:, HEAD.itemsize :].copy().view(ROW).reshape(-1),
        [value[BODY:end] for value, end in zip(values, ends, strict=True)],
        [value[end:last] for value, end, last in zip(values, ends, lasts, strict=True)],
        heads["order"],
    )


def keys_of(joined: Sequence[bytes]) -> NDArray[np.uint64]:
    """The index keys of sessions by their changelog keys (:func:`models.state.join` of tenant and id)."""
    hashed = (blake2b(one.replace(_JOINED, _HASHED), digest_size=8).digest() for one in joined)
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
