"""An index from keys to rows: an open-addressing hash table of two arrays, looked up for a whole chunk at once.

Keys of sessions are 64-bit fingerprints of (tenant, session id): among a million, two collide with probability 3e-8.
Keys of clients are keyed hashes. A Python dictionary needs about 170 bytes per entry, this table 12 bytes per slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import compiled

_MAX_LOAD = 0.8


@compiled
def _find(
    slots: NDArray[np.uint64], rows: NDArray[np.int32], keys: NDArray[np.uint64], found: NDArray[np.int64]
) -> None:
    mask = np.uint64(slots.size - 1)
    for number in range(keys.size):
        slot = keys[number] & mask
        while slots[slot] != 0:
            if slots[slot] == keys[number]:
                found[number] = rows[slot]
                break
            slot = (slot + np.uint64(1)) & mask


@compiled
def _place(
    slots: NDArray[np.uint64], rows: NDArray[np.int32], keys: NDArray[np.uint64], numbers: NDArray[np.int64]
) -> None:
    mask = np.uint64(slots.size - 1)
    for number in range(keys.size):
        slot = keys[number] & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot], rows[slot] = keys[number], numbers[number]


class RowIndex:
    """Maps fingerprints (never 0) to row numbers, with linear probing and backward-shift deletion."""

    def __init__(self, capacity: int = 1024) -> None:
        size = 1 << max(4, (capacity - 1).bit_length())
        self._keys = np.zeros(size, np.uint64)
        self._rows = np.zeros(size, np.int32)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        """Size of both arrays in bytes."""
        return self._keys.nbytes + self._rows.nbytes

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of *keys*, shape ``(n,)``; -1 where a key is missing."""
        found = np.full(keys.size, -1, np.int64)
        _find(self._keys, self._rows, keys, found)
        return found

    def insert(self, key: int, row: int) -> None:
        """Map *key* to *row*; the key must be new."""
        self.insert_all(np.array([key], np.uint64), np.array([row], np.int64))

    def insert_all(self, keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Map all *keys*, which must be new and distinct, to *rows*."""
        while self._used + keys.size > self._keys.size * _MAX_LOAD:
            self._grow()
        _place(self._keys, self._rows, keys, rows)
        self._used += keys.size

    def clear(self) -> None:
        """Remove every key; the arrays keep their size."""
        self._keys[:] = 0
        self._used = 0

    def remove(self, key: int) -> None:
        """Remove *key*.

        Raises:
            KeyError: the key is missing.
        """
        keys, rows, mask = self._keys, self._rows, self._keys.size - 1
        hole = key & mask
        while int(keys[hole]) != key:
            if keys[hole] == 0:
                raise KeyError(key)
            hole = (hole + 1) & mask
        slot = hole
        while True:
            slot = (slot + 1) & mask
            if keys[slot] == 0:
                break
            home = int(keys[slot]) & mask
            if (slot - home) & mask >= (slot - hole) & mask:
                keys[hole], rows[hole] = keys[slot], rows[slot]
                hole = slot
        keys[hole] = 0
        self._used -= 1

    def _grow(self) -> None:
        used = np.flatnonzero(self._keys)
        keys, rows = self._keys[used], self._rows[used]
        self._keys = np.zeros(self._keys.size * 2, np.uint64)
        self._rows = np.zeros(self._keys.size, np.int32)
        _place(self._keys, self._rows, keys, rows.astype(np.int64))
