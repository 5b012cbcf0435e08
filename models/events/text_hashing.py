"""Hashes and comparison of texts where they lie in a buffer, for a whole chunk at once; and lasting fingerprints.

A *span* is the place of a text in an array of bytes: where it starts and its length, below 0 for an absent text. The
array is padded behind its last text: compiled code reads eight bytes at once wherever a text starts.

Three hashes serve three purposes. :func:`fingerprint` is cryptographic, lasting and slow: for strings that recur,
through a cache. :func:`hash_ids` is lasting and fast: for ids, most of which occur once. :func:`siphash_rows` has a
secret key: for lookups that attackers must not be able to make collide. It never leaves the process.
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
"""What follows the last text of a buffer, so that reads of whole words stay inside it."""
_BYTE_BITS: Final = np.uint64(8)
_ONE: Final = np.uint64(1)
_ALL_BITS: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
_ID_BYTES: Final = 72
EACH_BYTE: Final = np.uint64(0x0101010101010101)
"""Times a byte: eight of it."""
HIGH_BITS: Final = np.uint64(0x8080808080808080)
"""The highest bit of each of eight bytes."""
_SPACES: Final = np.uint64(0x2020202020202020)
MIX_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
FOLD_SHIFT: Final = np.uint64(29)
_WORD_FACTORS: Final = np.array(
    [0x9E3779B97F4A7C15 * (2 * i + 3) % 2**64 | 1 for i in range(_ID_BYTES // 8)], np.uint64
)
"""An odd factor for each eight bytes of an id: two ids with the same words in another order differ."""
KEY_BYTES: Final = 16
"""Length of the key of SipHash."""


class Spans(NamedTuple):
    """Places of texts in the bytes *text*.

    *starts* and *lengths* have shape ``(n,)``, or ``(n, m)`` for *m* texts of each of *n* records.
    """

    text: Bytes
    starts: Ints
    lengths: Ints

    def columns(self, indexes: Any) -> Spans:
        """Return the columns at *indexes* of spans ``(n, m)``: one as ``(n,)``, a list of *k* as ``(n, k)``."""
        starts, lengths = self.starts[:, indexes], self.lengths[:, indexes]
        return Spans(self.text, np.ascontiguousarray(starts), np.ascontiguousarray(lengths))

    def text_at(self, *index: int) -> str | None:
        """Return the text at *index*, `None` for an absent one."""
        start, length = self.starts[index], self.lengths[index]
        if length < 0:
            return None
        return self.text[start : start + length].tobytes().decode("utf-8", "surrogatepass")

    def rows(self, chosen: Ints) -> list[tuple[str | None, ...]]:
        """Return the texts of the *chosen* rows of spans ``(n, m)``."""
        starts, lengths, text = self.starts[chosen], self.lengths[chosen], self.text.tobytes()
        return [
            tuple(
                None if length < 0 else text[start : start + length].decode("utf-8", "surrogatepass")
                for start, length in row
            )
            for row in np.stack([starts, lengths], axis=2).tolist()
        ]


def spans_of(texts: Sequence[str | bytes | None]) -> Spans:
    """Return spans ``(n,)`` of *texts*, as UTF-8 one behind the other in a new buffer."""
    payloads = [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text or b"" for text in texts]
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    starts = np.cumsum(lengths) - lengths
    if None in texts:
        lengths[[index for index, text in enumerate(texts) if text is None]] = -1
    return Spans(np.frombuffer(b"".join(payloads) + PADDING, np.uint8), starts, lengths)


def equal_texts(left: Spans, right: Spans) -> Bools:
    """Return where two lists of texts, ``(n,)`` each, are equal and present, ``(n,)``."""
    equal = np.zeros(left.starts.size, np.bool_)
    _equal_texts(
        left.text.ctypes.data,
        left.starts,
        left.lengths,
        right.text.ctypes.data,
        right.starts,
        right.lengths,
        equal,
    )
    return equal


def _hash_short_ascii(spans: Spans) -> tuple[Hashes, Bools]:
    """Return hashes of short ASCII texts, ``(n,)``, and which texts are not of that kind, ``(n,)``.

    The hash of an absent text is 0, no other is. Not short ASCII is what is longer than 72 bytes, not ASCII, or has a
    NUL, which would look like the end of the text.
    """
    hashes, unhashed = np.empty(spans.starts.size, np.uint64), np.zeros(spans.starts.size, np.bool_)
    _fill_short_hashes(spans.text.ctypes.data, spans.starts, spans.lengths, hashes, unhashed)
    return hashes, unhashed


def siphash_key(key: bytes) -> Hashes:
    """Return the two words of a SipHash *key*; raises `ValueError` unless it has `KEY_BYTES` bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key of {len(key)} bytes, it must have {KEY_BYTES}")
    return np.frombuffer(key, "<u8").astype(np.uint64)


def siphash_rows(spans: Spans, key: Hashes) -> Hashes:
    """Return SipHash-1-3 (Aumasson, Bernstein 2012) of the *m* texts of each row, ``(n,)``, never 0.

    *key* comes from :func:`siphash_key`. As long as it is secret, nobody can choose two rows with the same hash.
    Another process has another key, so these hashes are never stored.
    """
    hashes = np.empty(len(spans.starts), np.uint64)
    _fill_siphash(spans.text.ctypes.data, spans.starts, spans.lengths, key, hashes)
    return hashes


@compiled
def first_word(address: int, length: int) -> np.uint64:
    """Return the first eight of the *length* bytes at *address*, little end first; zeros behind the last."""
    loaded = word(address)
    return loaded if length >= 8 else loaded & ~(_ALL_BITS << (_BYTE_BITS * np.uint64(length)))


@compiled
def _equal_texts(
    text: int, starts: Ints, lengths: Ints, other_text: int, other_starts: Ints, other_lengths: Ints, equal: Bools
) -> None:
    for index in range(starts.size):
        length, address, other_address = lengths[index], text + starts[index], other_text + other_starts[index]
        alike = length >= 0 and length == other_lengths[index]
        if alike:
            for done in range(0, length, 8):
                left, right = first_word(address + done, length - done), first_word(other_address + done, length - done)
                alike &= left == right
        equal[index] = alike


@compiled
def _is_ascii(loaded: np.uint64) -> bool:
    """Return whether none of the eight bytes *loaded* is 0 or beyond ASCII."""
    return bool(((loaded - EACH_BYTE) | loaded) & HIGH_BITS == 0)


@compiled
def _fill_short_hashes(text: int, starts: Ints, lengths: Ints, hashes: Hashes, unhashed: Bools) -> None:
    for index in range(starts.size):
        length, address = lengths[index], text + starts[index]
        hashes[index] = 0
        unhashed[index] = length > _ID_BYTES
        if length < 0 or unhashed[index]:
            continue
        total = np.uint64(0)
        for number in range((length + 7) // 8):
            rest = length - 8 * number
            loaded = first_word(address + 8 * number, rest)
            filled = loaded if rest >= 8 else loaded | _ALL_BITS << (_BYTE_BITS * np.uint64(rest)) & _SPACES
            unhashed[index] |= not _is_ascii(filled)
            loaded *= MIX_FACTOR
            total += (loaded ^ (loaded >> FOLD_SHIFT)) * _WORD_FACTORS[number]
        total = (total ^ (total >> FOLD_SHIFT)) * MIX_FACTOR
        total ^= total >> FOLD_SHIFT
        hashes[index] = total if total != 0 else _ONE


@compiled
def _rotated(value: np.uint64, bits: int) -> np.uint64:
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@compiled
def _sip_round(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a += b
    c += d
    b = _rotated(b, 13) ^ a
    d = _rotated(d, 16) ^ c
    a = _rotated(a, 32) + d
    c += b
    d = _rotated(d, 21) ^ a
    b = _rotated(b, 17) ^ c
    return a, b, _rotated(c, 32), d


@compiled
def _fill_siphash(text: int, starts: Ints, lengths: Ints, key: Hashes, hashes: Hashes) -> None:
    for row in range(starts.shape[0]):
        a = key[0] ^ np.uint64(0x736F6D6570736575)
        b = key[1] ^ np.uint64(0x646F72616E646F6D)
        c = key[0] ^ np.uint64(0x6C7967656E657261)
        d = key[1] ^ np.uint64(0x7465646279746573)
        for column in range(starts.shape[1]):
            # The length of each text is hashed before it: no two rows of texts give the same words.
            length, address = lengths[row, column], text + starts[row, column]
            message = np.uint64(length + 1)
            d ^= message
            a, b, c, d = _sip_round(a, b, c, d)
            a ^= message
            for done in range(0, length, 8):
                message = first_word(address + done, length - done)
                d ^= message
                a, b, c, d = _sip_round(a, b, c, d)
                a ^= message
        c ^= np.uint64(0xFF)
        for _ in range(3):
            a, b, c, d = _sip_round(a, b, c, d)
        total = a ^ b ^ c ^ d
        hashes[row] = total if total != 0 else _ONE


PART_SEPARATOR: Final = "\udcff"
"""Separates the parts of a compound name: half a surrogate pair, which no text decoded from UTF-8 can hold."""


def fingerprint(text: str) -> int:
    """Return BLAKE2b (RFC 7693) of *text* in 64 bits, never 0: 0 means "not known"."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Fingerprints(dict[str | None, int]):
    """A bounded cache of fingerprints, for strings that recur.

    ``None`` maps to 0. A cache of *limit* strings is emptied before it takes another, which changes no result.
    """

    def __init__(self, limit: int = 50_000) -> None:
        super().__init__()
        self.limit = limit

    def __missing__(self, text: str | None) -> int:
        if len(self) >= self.limit:
            self.clear()
        value = self[text] = 0 if text is None else fingerprint(text)
        return value


def shortened(fingerprints: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return the low 32 bits of *fingerprints*, never 0 where the fingerprint is not 0.

    They are enough to notice a change of client: an attacker who could search 2^32 clients for a collision could as
    well copy the client.
    """
    low = fingerprints.astype(np.uint32)
    low[(low == 0) & (fingerprints != 0)] = 1
    return low


def short_fingerprint(text: str) -> int:
    """Return the fingerprint of one *text*, :func:`shortened`.

    >>> short_fingerprint("acme") == shortened(np.array([fingerprint("acme")], np.uint64)).tolist()[0]
    True
    """
    return fingerprint(text) & 0xFFFFFFFF or 1


def hash_ids(ids: Sequence[str | None]) -> NDArray[np.uint64]:
    """Return 64-bit hashes of strings that hardly ever recur, ``(len(ids),)``: 0 for ``None``, for nothing else."""
    return hash_spans(spans_of(ids))


def hash_spans(ids: Spans) -> NDArray[np.uint64]:
    """Return :func:`hash_ids` of the texts at *ids*, ``(n,)``.

    No cache helps with ids, so they are hashed directly, eight bytes at a time. The few that are long or not ASCII have
    their fingerprint instead. The hash of a string does not depend on the others.
    """
    hashes, unhashed = _hash_short_ascii(ids)
    for index in np.flatnonzero(unhashed).tolist():
        hashes[index] = fingerprint(str(ids.text_at(index)))
    return hashes
