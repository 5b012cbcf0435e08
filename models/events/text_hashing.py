"""Hashes of texts where they lie, a chunk at once.

A *span* is where a text begins in an array of bytes and how long it is, below 0 for none. The array goes on
behind its last text, so that eight bytes can be read at once, and a name be looked for, wherever one begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import compiled, word

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Bools = NDArray[np.bool_]

PADDING: Final = bytes(32)
_BYTE: Final = np.uint64(8)
_ONE: Final = np.uint64(1)
ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_ID_BYTES: Final = 72
EACH: Final = np.uint64(0x0101010101010101)
HIGH: Final = np.uint64(0x8080808080808080)
_SPACES: Final = np.uint64(0x2020202020202020)
MIX: Final = np.uint64(0x9E3779B97F4A7C15)
FOLD: Final = np.uint64(29)
_PLACES: Final = np.array([0x9E3779B97F4A7C15 * (2 * i + 3) % 2**64 | 1 for i in range(_ID_BYTES // 8)], np.uint64)
"""An odd factor for each word of an id, so that their order counts."""
KEY_BYTES: Final = 16
"""Length of the key of SipHash."""


class Spans(NamedTuple):
    """Texts in *text*: *starts* and *lengths* have the shape of what is told, ``(n,)`` or ``(n, m)``."""

    text: Bytes
    starts: Ints
    lengths: Ints

    def of(self, members: Any) -> Spans:
        """The texts of *members* of spans ``(n, m)``: one, ``(n,)``, or a list of them."""
        starts, lengths = self.starts[:, members], self.lengths[:, members]
        return Spans(self.text, np.ascontiguousarray(starts), np.ascontiguousarray(lengths))

    def text_at(self, *place: int) -> str | None:
        """The text at *place*."""
        start, length = self.starts[place], self.lengths[place]
        if length < 0:
            return None
        return self.text[start : start + length].tobytes().decode("utf-8", "surrogatepass")

    def rows(self, chosen: Ints) -> list[tuple[str | None, ...]]:
        """The texts of the *chosen* rows of spans ``(n, m)``."""
        begins, lengths, whole = self.starts[chosen], self.lengths[chosen], self.text.tobytes()
        return [
            tuple(
                None if length < 0 else whole[at : at + length].decode("utf-8", "surrogatepass") for at, length in row
            )
            for row in np.stack([begins, lengths], axis=2).tolist()
        ]


def spans_of(texts: Sequence[str | bytes | None]) -> Spans:
    """*texts*, or their bytes, laid one behind the other, ``(n,)``."""
    payloads = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text or b"" for text in texts]
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    starts = np.cumsum(lengths) - lengths
    if None in texts:
        lengths[[at for at, text in enumerate(texts) if text is None]] = -1
    return Spans(np.frombuffer(b"".join(payloads) + PADDING, np.uint8), starts, lengths)


def same(some: Spans, others: Spans) -> Bools:
    """Where two lists of texts, ``(n,)`` each, are the same, and not both nothing."""
    answer = np.zeros(some.starts.size, np.bool_)
    _same(
        some.text.ctypes.data,
        some.starts,
        some.lengths,
        others.text.ctypes.data,
        others.starts,
        others.lengths,
        answer,
    )
    return answer


def mixed(spans: Spans) -> tuple[Hashes, Bools]:
    """Hashes of short plain texts, ``(n,)``: 0 for none, never 0 else; and where a text is neither, ``(n,)``.

    Neither short nor plain: longer than 72 bytes, not ASCII, or with a NUL, which would look like the end.
    """
    hashes, odd = np.empty(spans.starts.size, np.uint64), np.zeros(spans.starts.size, np.bool_)
    _mixed(spans.text.ctypes.data, spans.starts, spans.lengths, hashes, odd)
    return hashes, odd


def siphash_key(key: bytes) -> Hashes:
    """Return the two words of a SipHash *key*; raises `ValueError` unless it has `KEY_BYTES` bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key of {len(key)} bytes, it must have {KEY_BYTES}")
    return np.frombuffer(key, "<u8").astype(np.uint64)


def siphash_rows(spans: Spans, key: Hashes) -> Hashes:
    """SipHash-1-3 (Aumasson, Bernstein 2012) of the *m* texts of each row, ``(n,)``, never 0.

    *key* comes from :func:`siphash_key`. As long as it is secret, nobody can choose two rows with the same hash.
    Another process has another key, so these hashes are never stored.
    """
    hashes = np.empty(len(spans.starts), np.uint64)
    _siphash_rows(spans.text.ctypes.data, spans.starts, spans.lengths, key, hashes)
    return hashes


@compiled
def head(at: int, length: int) -> np.uint64:
    """The first eight of the *length* bytes at the address *at*, little end first; zeros behind the last."""
    uint64 = word(at)
    return uint64 if length >= 8 else uint64 & ~(ALL << (_BYTE * np.uint64(length)))


@compiled
def _same(
    text: int, starts: Ints, lengths: Ints, other: int, other_starts: Ints, other_lengths: Ints, answer: Bools
) -> None:
    for number in range(starts.size):
        length, at, there = lengths[number], text + starts[number], other + other_starts[number]
        alike = length >= 0 and length == other_lengths[number]
        if alike:
            for place in range(0, length, 8):
                alike &= head(at + place, length - place) == head(there + place, length - place)
        answer[number] = alike


@compiled
def _is_plain(word8: np.uint64) -> bool:
    """Whether none of the eight bytes *told* is 0 or beyond ASCII."""
    return bool(((word8 - EACH) | word8) & HIGH == 0)


@compiled
def _mixed(text: int, starts: Ints, lengths: Ints, hashes: Hashes, odd: Bools) -> None:
    for number in range(starts.size):
        length, at = lengths[number], text + starts[number]
        hashes[number] = 0
        odd[number] = length > _ID_BYTES
        if length < 0 or odd[number]:
            continue
        total = np.uint64(0)
        for place in range((length + 7) // 8):
            rest = length - 8 * place
            uint64 = head(at + 8 * place, rest)
            filled = uint64 if rest >= 8 else uint64 | ALL << (_BYTE * np.uint64(rest)) & _SPACES
            odd[number] |= not _is_plain(filled)
            uint64 *= MIX
            total += (uint64 ^ (uint64 >> FOLD)) * _PLACES[place]
        total = (total ^ (total >> FOLD)) * MIX
        total ^= total >> FOLD
        hashes[number] = total if total != 0 else _ONE


@compiled
def _turned(word: np.uint64, bits: int) -> np.uint64:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@compiled
def _round(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a += b
    c += d
    b = _turned(b, 13) ^ a
    d = _turned(d, 16) ^ c
    a = _turned(a, 32) + d
    c += b
    d = _turned(d, 21) ^ a
    b = _turned(b, 17) ^ c
    return a, b, _turned(c, 32), d


@compiled
def _siphash_rows(text: int, starts: Ints, lengths: Ints, secret: Hashes, hashes: Hashes) -> None:
    for number in range(starts.shape[0]):
        a = secret[0] ^ np.uint64(0x736F6D6570736575)
        b = secret[1] ^ np.uint64(0x646F72616E646F6D)
        c = secret[0] ^ np.uint64(0x6C7967656E657261)
        d = secret[1] ^ np.uint64(0x7465646279746573)
        for member in range(starts.shape[1]):
            # Each text's length goes before it: no two rows of texts are the same words.
            length, at = lengths[number, member], text + starts[number, member]
            unsignedinteger = np.uint64(length + 1)
            d ^= unsignedinteger
            a, b, c, d = _round(a, b, c, d)
            a ^= unsignedinteger
            for place in range(0, length, 8):
                unsignedinteger = head(at + place, length - place)
                d ^= unsignedinteger
                a, b, c, d = _round(a, b, c, d)
                a ^= unsignedinteger
        c ^= np.uint64(0xFF)
        for _ in range(3):
            a, b, c, d = _round(a, b, c, d)
        unsignedinteger = a ^ b ^ c ^ d
        hashes[number] = unsignedinteger if unsignedinteger != 0 else _ONE


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
        hashes[at] = fingerprint(str(ids.text_at(at)))
    return hashes
