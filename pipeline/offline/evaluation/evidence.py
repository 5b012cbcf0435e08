"""Evidence per session: the detections that held and the highest band of the model, to learn weights from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.state.table import SessionTable, Subject
from pipeline.detections.mask import as_int
from pipeline.offline.evaluation.outcome import Outcomes
from pipeline.offline.replay.labels import SessionKey
from pipeline.sessions.fast_path import ScoredChunk

NEVER = 2**62
"""A time after every event."""


class Sessions(NamedTuple):
    """Training data for weights: *n* sessions, or parts of them.

    Attributes:
        rows: zeros and ones, ``(n, detections + bands)``. A session in band *b* has ones in the first *b* of the band
            columns, so each column is the contribution of one more band.
        attack: ``(n,)``, whether the session was attacked.
        kinds: ``(n,)``, the principal kind, a name of :data:`models.events.columns.KINDS`.
    """

    rows: NDArray[np.float64]
    attack: NDArray[np.bool_]
    kinds: NDArray[np.str_]


@dataclass(slots=True)
class Evidence:
    """Collects evidence during a replay; pass :meth:`look` to the session processor as its ``onlooker``.

    For an attacked session, evidence after the beginning of the attack counts as attacked, evidence before it as
    honest.
    """

    outcomes: Outcomes
    attacked: dict[SessionKey, list[int]] = field(default_factory=dict)
    honest: dict[SessionKey, list[int]] = field(default_factory=dict)
    kinds: dict[SessionKey, str] = field(default_factory=dict)

    def look(self, table: SessionTable, chunk: ScoredChunk) -> None:
        """Add a chunk: for each session, all detections that held and the highest band."""
        seg, at = chunk.folded.seg, chunk.folded.at
        keys = [self._key(table.names[row]) for row in seg.keys.tolist()]
        kinds = table.rows["kind"][seg.keys].tolist()
        self.kinds |= {key: KINDS[kind] for key, kind in zip(keys, kinds, strict=True) if kind}
        self._begin(keys, np.minimum.reduceat(chunk.folded.batch.at[seg.order], seg.starts).tolist())
        during_attack = at >= np.array([self._attacked_at(key) for key in keys])[seg.of]
        for evidence, chosen in ((self.attacked, during_attack), (self.honest, ~during_attack)):
            mask = np.bitwise_or.reduceat(np.where(chosen[:, None], chunk.mask, 0), seg.starts, axis=0)
            band = np.maximum.reduceat(np.where(chosen, chunk.band, 0), seg.starts)
            for owner in np.flatnonzero(np.bitwise_or.reduceat(chosen, seg.starts)).tolist():
                collected = evidence.setdefault(keys[owner], [0, 0])
                collected[0] |= as_int(mask[owner])
                collected[1] = max(collected[1], int(band[owner]))

    @staticmethod
    def _key(packed: bytes) -> SessionKey:
        names = Subject.unpack(packed)
        return names.tenant, names.session_id

    def _begin(self, keys: Sequence[SessionKey], at: Sequence[int]) -> None:
        for key, first in zip(keys, at, strict=True):
            self.outcomes.begun.setdefault(key, first)

    def _attacked_at(self, key: SessionKey) -> int:
        truth = self.outcomes.truth.get(key)
        return truth.started_at if truth and truth.label == "attack" else NEVER

    def table(self, detections: int, bands: int) -> Sessions:
        """One row per session, and two for an attacked one: before and after the beginning of the attack."""
        sessions = [*self.honest, *self.attacked]
        collected: Sequence[list[int]] = [*self.honest.values(), *self.attacked.values()]
        rows = np.zeros((len(collected), detections + bands))
        for row, (mask, band) in zip(rows, collected, strict=True):
            row[[bit for bit in range(detections) if mask >> bit & 1]] = 1.0
            row[detections : detections + band] = 1.0
        attack = np.arange(len(collected)) >= len(self.honest)
        return Sessions(rows, attack, np.array([self.kinds.get(key, "") for key in sessions], np.str_))
