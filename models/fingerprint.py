"""Short stable numbers for strings: what a session remembers of an address, a client or a token.

Python's own ``hash`` differs from process to process, so it can never be stored; these can.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.spans import Spans, mixed, spans_of

BETWEEN: Final = "\udcff"
"""Stands between the parts of a name: half a surrogate pair, which no text read from UTF-8 can hold."""


def fingerprint(text: str) -> int:
    """BLAKE2b (RFC 7693) of *text*, 64 bits, never 0: 0 is kept for "not known"."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Fingerprints(dict[str | None, int]):
    """A bounded memory of fingerprints: the same few strings come again and again.

    ``None`` maps to 0. When *limit* strings are held the memory starts afresh, which changes no result.
    """

    def __init__(self, limit: int = 50_000) -> None:
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
    """64-bit hashes of strings that hardly ever repeat, ``(len(ids),)``; 0 for ``None``, never 0 else."""
    return hash_spans(spans_of(ids))


def hash_spans(ids: Spans) -> NDArray[np.uint64]:
    """:func:`hash_ids` of texts that lie where they were read, ``(n,)``.

    No memory helps with those, so they are mixed as they are, 8 bytes at a time; the few that are long or
    not plain have their fingerprint instead. The hash of a string does not depend on the others.
    """
    hashes, odd = mixed(ids)
    for at in np.flatnonzero(odd).tolist():
        hashes[at] = fingerprint(str(ids.told(at)))
    return hashes
