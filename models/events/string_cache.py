"""A bounded cache from rows of strings to packed records, found by a keyed hash of the strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.events.text_hashing import Spans, siphash_key, siphash_rows, spans_of
from models.hash_index import RowIndex

Structs = NDArray[Any]
_INITIAL_SIZE = 256
_MIN_CAPACITY = 65_536
"""Entries below which removing unused ones is not worth the work."""
_LOOKUPS_PER_ENTRY = 4
"""Lookups per entry after which an entry that was never looked up is likely of no more use."""


class StringCache:
    """Values of *dtype* for rows of texts, computed by *make* for a list of rows at once.

    Only the hash of a row is stored, not its texts: comparing them would cost a memory access for every text, and
    nobody without *key* can choose two rows with the same hash (:func:`models.events.text_hashing.siphash_rows`).
    Entries that were not looked up for long, such as those of sessions that ended, are removed. A cache with *limit*
    entries in use is emptied; those of one chunk may exceed the limit. Neither changes a value.
    """

    def __init__(
        self, make: Callable[[list[tuple[Any, ...]]], Structs], dtype: np.dtype[Any], limit: int, key: bytes
    ) -> None:
        self._make = make
        self._key = siphash_key(key)
        self._limit = limit
        self._capacity = min(limit, _MIN_CAPACITY)
        self._values: Structs = np.zeros(_INITIAL_SIZE, dtype)
        self._hashes = np.zeros(_INITIAL_SIZE, np.uint64)
        self._used = np.zeros(_INITIAL_SIZE, np.bool_)
        self._lookups = 0
        self._index = RowIndex()

    def __len__(self) -> int:
        return len(self._index)

    def lookup(self, texts: Sequence[tuple[str | None, ...]]) -> Structs:
        """Return the values of all rows of *texts*, ``(n,)``."""
        buffer, starts, lengths = spans_of([item for row in texts for item in row])
        shape = len(texts), -1
        return self.lookup_spans(Spans(buffer, starts.reshape(shape), lengths.reshape(shape)))

    def lookup_spans(self, spans: Spans) -> Structs:
        """Return the values, ``(n,)``, of rows of texts in place, ``(n, m)``."""
        hashes = siphash_rows(spans, self._key)
        rows = self._index.find(hashes)
        missing = np.flatnonzero(rows < 0)
        if missing.size:
            if len(self) + missing.size > self._capacity:
                self._make_room(missing.size)
                rows = self._index.find(hashes)
                missing = np.flatnonzero(rows < 0)
            self._add(hashes, spans, missing)
            rows[missing] = self._index.find(hashes[missing])
        self._used[rows] = True
        self._lookups += rows.size
        return self._values[rows]

    def _make_room(self, added: int) -> None:
        """Remove unused entries if enough lookups passed to recognise them; otherwise grow."""
        if len(self) + added > self._limit or self._lookups >= _LOOKUPS_PER_ENTRY * len(self):
            kept = np.flatnonzero(self._used[: len(self)])
            self._retain(kept if kept.size + added <= self._limit else kept[:0])
        self._capacity = min(self._limit, _size_for(max(_MIN_CAPACITY, len(self) * 4 // 3)))

    def _retain(self, kept: NDArray[np.int64]) -> None:
        # In place: allocating and freeing arrays of megabytes fragments the heap.
        self._values[: kept.size], self._hashes[: kept.size] = self._values[kept], self._hashes[kept]
        self._used[:], self._lookups = False, 0
        self._index.clear()
        self._index.insert_all(self._hashes[: kept.size], np.arange(kept.size))

    def _add(self, hashes: NDArray[np.uint64], spans: Spans, missing: NDArray[np.int64]) -> None:
        """Compute the *missing* values, each once even if it occurs several times in the chunk."""
        fresh, first = np.unique(hashes[missing], return_index=True)
        begin, end = len(self), len(self) + fresh.size
        if end > self._values.size:
            size = _size_for(end)
            self._values = _enlarged(self._values, size)
            self._hashes, self._used = _enlarged(self._hashes, size), _enlarged(self._used, size)
        self._values[begin:end] = self._make(spans.rows(missing[first]))
        self._hashes[begin:end] = fresh
        self._index.insert_all(fresh, np.arange(begin, end))


def _size_for(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _enlarged(values: NDArray[Any], size: int) -> NDArray[Any]:
    enlarged = np.zeros(size, values.dtype)
    enlarged[: values.size] = values
    return enlarged
