"""What a session does at most, and what the principal context said of what is usual for its principal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import SOURCE, Batch, Kind
from models.features import SUM_NAMES, Floats
from models.rolling import Segments, last_where
from models.state import Rows
from models.volumes import BASELINE, VOLUMES, packed, unpacked

if TYPE_CHECKING:
    from models.fold import Folded

_COLUMNS: Final = [SUM_NAMES.index(name) for name in VOLUMES]


def keep_peaks(batch: Batch, sums: Floats, seg: Segments, before: Rows, after: Rows) -> None:
    """Remember the largest of each volume since the session's last summary; only calls move them."""
    if batch.kind is Kind.CALL:
        largest = np.maximum.reduceat(sums[:, _COLUMNS], seg.starts, axis=0)
        after["peaks"] = np.maximum(before["peaks"], packed(largest))


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


def follow_baseline(batch: Batch, seg: Segments, before: Rows, after: Rows) -> dict[str, NDArray[Any]]:
    """What is usual for the principal after each event, in the units of the sums; the last word wins."""
    usual = unpacked(before["usual"])[seg.of]
    told = {name: before[name][seg.of] for name in BASELINE}
    if batch.kind is Kind.CONTEXT:
        where = last_where(batch.columns["source"][seg.order] == SOURCE["principal"], seg)
        for name in BASELINE:
            told[name] = np.where(where >= 0, batch.columns[name][seg.order][where], told[name])
            after[name] = told[name][seg.lasts]
        steps = batch.columns["usual"][seg.order][where]
        usual = np.where((where >= 0)[:, None], unpacked(steps), usual)
        last = where[seg.lasts]
        after["usual"] = np.where((last >= 0)[:, None], steps[seg.lasts], before["usual"])
    told["hour_share"] = told["hour_share"] / 255.0
    return told | {f"usual_{name}": column for name, column in zip(VOLUMES, usual.T, strict=True)}
