"""Which row belongs to a key: an open-addressing hash table of two arrays, asked for a whole chunk at once.

Keys of sessions are the 64-bit fingerprints of (tenant, session id): a million meet by chance with
probability 3e-8. What is remembered of clients has keyed hashes. A Python dictionary would hold about 170
bytes for each; this holds 12 bytes a slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import compiled

_FULLEST = 0.8


@compiled
def _find(
    held: NDArray[np.uint64], rows: NDArray[np.int32], keys: NDArray[np.uint64], found: NDArray[np.int64]
) -> None:
    mask = np.uint64(held.size - 1)
    for number in range(keys.size):
        slot = keys[number] & mask
        while held[slot] != 0:
            if held[slot] == keys[number]:
                found[number] = rows[slot]
                break
            slot = (slot + np.uint64(1)) & mask


@compiled
def _place(
    held: NDArray[np.uint64], rows: NDArray[np.int32], keys: NDArray[np.uint64], numbers: NDArray[np.int64]
) -> None:
    mask = np.uint64(held.size - 1)
    for number in range(keys.size):
        slot = keys[number] & mask
        while held[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        held[slot], rows[slot] = keys[number], numbers[number]


class RowIndex:
    """Maps session fingerprints (never 0) to row numbers; linear probing, deletion by moving back."""

    def __init__(self, capacity: int = 1024) -> None:
        size = 1 << max(4, (capacity - 1).bit_length())
        self._keys = np.zeros(size, np.uint64)
        self._rows = np.zeros(size, np.int32)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._keys.nbytes + self._rows.nbytes

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows of *keys*, shape ``(n,)``; -1 where a key is not held."""
        found = np.full(keys.size, -1, np.int64)
        _find(self._keys, self._rows, keys, found)
        return found

    def insert(self, key: int, row: int) -> None:
        """Hold *key* at *row*; the key must not be held yet."""
        self.insert_all(np.array([key], np.uint64), np.array([row], np.int64))

    def insert_all(self, keys: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Hold all *keys*, no two alike and none held yet, at their *rows*."""
        while self._used + keys.size > self._keys.size * _FULLEST:
            self._grow()
        _place(self._keys, self._rows, keys, rows)
        self._used += keys.size

    def clear(self) -> None:
        """Forget every key; the room stays."""
        self._keys[:] = 0
        self._used = 0

    def remove(self, key: int) -> None:
        """Forget *key*.

        Raises:
            KeyError: the key is not held.
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
        held = np.flatnonzero(self._keys)
        keys, rows = self._keys[held], self._rows[held]
        self._keys = np.zeros(self._keys.size * 2, np.uint64)
        self._rows = np.zeros(self._keys.size, np.int32)
        _place(self._keys, self._rows, keys, rows.astype(np.int64))
