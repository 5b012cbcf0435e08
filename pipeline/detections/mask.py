"""Masks: which detections hold, a bit each, in as many words of 64 bits as the table of detections needs.

A mask of n events is an array ``(n, words)``: bit *i* of the first word is detection *i*, bit *i* of the second word is
detection 64 + *i*, and so on. With one word, which is enough for 64 detections, this costs what ``(n,)`` would cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint64]
"""``(n, words)``, or ``(words,)`` of one event."""
Bools = NDArray[np.bool_]
WORD_BITS: Final = 64


def holds_any(mask: Mask) -> Bools:
    """Where any detection holds, ``(n,)``."""
    held: NDArray[np.uint64] = mask[:, 0] if mask.shape[1] == 1 else np.bitwise_or.reduce(mask, axis=1)
    return held != 0


def differs(mask: Mask, other: Mask) -> Bools:
    """Where other detections hold in *mask* than in *other*, ``(n,)``."""
    return holds_any(mask ^ other)


def of_bits(bits: Iterable[int], words: int) -> Mask:
    """The mask ``(words,)`` in which *bits* are set."""
    mask = np.zeros(words, np.uint64)
    for bit in bits:
        mask[bit // WORD_BITS] |= np.uint64(1 << bit % WORD_BITS)
    return mask


def as_int(mask: Mask) -> int:
    """The mask ``(words,)`` of one event as one number, of any size."""
    return sum(word << WORD_BITS * place for place, word in enumerate(mask.tolist()))
