"""Short stable numbers for strings: what a session remembers of an address, a client or a token.

Python's own ``hash`` differs from process to process, so it can never be stored; these can.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

BETWEEN: Final = "\udcff"
"""Stands between the parts of a name: half a surrogate pair, which no text read from UTF-8 can hold."""
_ID_BYTES: Final = 72
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_FOLD: Final = np.uint64(29)
_PLACES: Final = np.array(
    [0x9E3779B97F4A7C15 * (2 * i + 3) % 2**64 | 1 for i in range(_ID_BYTES // 8)], np.uint64
)
"""An odd factor for each word of an id, so that their order counts."""


def fingerprint(text: str) -> int:
    """BLAKE2b (RFC 7693) of *text*, 64 bits, never 0: 0 is kept for "not known"."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Fingerprints(dict[str | None, int]):
    """A bounded memory of fingerprints: the same few strings come again and again.

    ``None`` maps to 0. When *limit* strings are held the memory starts afresh, which changes no result.
    """

    def __init__(self, limit: int = 200_000) -> None:
        super().__init__()
        self.limit = limit

    def __missing__(self, text: str | None) -> int:
        if len(self) >= self.limit:
            self.clear()
        value = self[text] = 0 if text is None else fingerprint(text)
        return value


def short(fingerprints: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The low 32 bits, never 0 where the fingerprint is not 0.

    Enough to notice a change: whoever could search 2^32 clients for a collision could as well copy the
    client.
    """
    low = fingerprints.astype(np.uint32)
    low[(low == 0) & (fingerprints != 0)] = 1
    return low


def brief(text: str) -> int:
    """:func:`short` of the fingerprint of one *text*.

    >>> brief("acme") == short(np.array([fingerprint("acme")], np.uint64)).tolist()[0]
    True
    """
    return fingerprint(text) & 0xFFFFFFFF or 1


def hash_ids(ids: Sequence[str | None]) -> NDArray[np.uint64]:
    """64-bit hashes of strings that hardly ever repeat, shape ``(len(ids),)``; 0 for ``None``, never 0 else.

    No memory helps with those, so the whole column is mixed at once, 8 bytes at a time. The hash of a string
    does not depend on the others.
    """
    odd = _odd(ids)
    plain = list(ids)
    for at in odd:
        plain[at] = ""
    words = np.array(plain, dtype=f"S{_ID_BYTES}").view(np.uint64).reshape(len(ids), -1) * _MIX
    words ^= words >> _FOLD
    mixed: NDArray[np.uint64] = (words * _PLACES).sum(axis=1, dtype=np.uint64)
    mixed = (mixed ^ (mixed >> _FOLD)) * _MIX
    mixed ^= mixed >> _FOLD
    mixed[mixed == 0] = 1
    for at in odd:
        one = ids[at]
        mixed[at] = 0 if one is None else fingerprint(one)
    return mixed


def _odd(ids: Sequence[str | None]) -> list[int]:
    """Where a string does not fit the words as it is; mostly nowhere, so that is asked first.

    Missing, longer than the words hold, not ASCII, or with a NUL, which at the end of a word looks like
    nothing.
    """
    if None not in ids and max(map(len, ids)) <= _ID_BYTES and _plain("".join(ids)):  # type: ignore[arg-type]  # asked first
        return []
    return [at for at, one in enumerate(ids) if one is None or len(one) > _ID_BYTES or not _plain(one)]


def _plain(text: str) -> bool:
    return text.isascii() and "\0" not in text
