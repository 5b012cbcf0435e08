"""What a session does at most, between two summaries of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import Kind
from models.compiled import compiled
from models.features import SUM_NAMES
from models.volumes import STEPS, VOLUMES, packed

if TYPE_CHECKING:
    from models.fold import Folded

_SUMS: Final = np.array([SUM_NAMES.index(name) for name in VOLUMES])
_MOST: Final = STEPS.size - 1


@compiled
def keep_peaks(row: Any, sums: Any) -> None:
    """Remember the largest of each volume since the session's last summary; only calls move them."""
    for volume in range(_SUMS.size):
        value, step = sums[_SUMS[volume]], row.peaks[volume]
        if value > STEPS[step]:
            row.peaks[volume] = min(np.searchsorted(STEPS, value), _MOST)


def peaks_at(folded: Folded, index: int) -> NDArray[np.uint8]:
    """The row's ``peaks`` as they stand after one event of the chunk, ``(len(VOLUMES),)``."""
    seg = folded.seg
    owner = int(seg.of[index])
    peaks: NDArray[np.uint8] = folded.before["peaks"][owner]
    if folded.batch.kind is not Kind.CALL:
        return peaks
    until = slice(int(seg.starts[owner]), index + 1)
    largest = np.array([folded.facts[name][until].max() for name in VOLUMES])
    return np.maximum(peaks, packed(largest))
