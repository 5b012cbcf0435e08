"""Which detections held, and how odd the model found it, session by session: weights are learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events.columns import KINDS
from models.state.table import SessionTable, Subject
from pipeline.offline.evaluation.outcome import Outcomes
from pipeline.offline.replay.labels import SessionKey
from pipeline.sessions.fast_path import ScoredChunk

NEVER = 2**62
"""Later than any event."""


class Sessions(NamedTuple):
    """What weights are learned from: *n* sessions, or parts of them.

    Attributes:
        rows: zeros and ones, ``(n, detections + bands)``. A session in band *b* has ones in the first *b* of
            the last columns: each is what one more band adds.
        attack: ``(n,)``, whether it was under attack.
        kinds: ``(n,)``, of its principal, a name of :data:`models.events.columns.KINDS`.
    """

    rows: NDArray[np.float64]
    attack: NDArray[np.bool_]
    kinds: NDArray[np.str_]


@dataclass(slots=True)
class Evidence:
    """Collects while a recording is played; give :meth:`look` to the session processor as its ``onlooker``.

    Of an attacked session what counts is what was seen after the attack began; what came before is evidence
    of an honest session.
    """

    outcomes: Outcomes
    attacked: dict[SessionKey, list[int]] = field(default_factory=dict)
    honest: dict[SessionKey, list[int]] = field(default_factory=dict)
    kinds: dict[SessionKey, str] = field(default_factory=dict)

    def look(self, table: SessionTable, looked: ScoredChunk) -> None:
        """Take note of a chunk: of each session all detections that held, and the highest band."""
        seg, at = looked.folded.seg, looked.folded.at
        keys = [self._key(table.names[row]) for row in seg.keys.tolist()]
        kinds = table.rows["kind"][seg.keys].tolist()
        self.kinds |= {key: KINDS[kind] for key, kind in zip(keys, kinds, strict=True) if kind}
        self._begin(keys, np.minimum.reduceat(looked.folded.batch.at[seg.order], seg.starts).tolist())
        struck = at >= np.array([self._struck_at(key) for key in keys])[seg.of]
        for notes, chosen in ((self.attacked, struck), (self.honest, ~struck)):
            mask = np.bitwise_or.reduceat(np.where(chosen, looked.mask, 0), seg.starts)
            band = np.maximum.reduceat(np.where(chosen, looked.band, 0), seg.starts)
            for owner in np.flatnonzero(np.bitwise_or.reduceat(chosen, seg.starts)).tolist():
                noted = notes.setdefault(keys[owner], [0, 0])
                noted[0] |= int(mask[owner])
                noted[1] = max(noted[1], int(band[owner]))

    @staticmethod
    def _key(packed: bytes) -> SessionKey:
        names = Subject.unpack(packed)
        return names.tenant, names.session_id

    def _begin(self, keys: Sequence[SessionKey], at: Sequence[int]) -> None:
        for key, first in zip(keys, at, strict=True):
            self.outcomes.begun.setdefault(key, first)

    def _struck_at(self, key: SessionKey) -> int:
        truth = self.outcomes.truth.get(key)
        return truth.started_at if truth and truth.label == "attack" else NEVER

    def table(self, detections: int, bands: int) -> Sessions:
        """One row for each session, and two for one that was attacked: before and since."""
        whose = [*self.honest, *self.attacked]
        noted: Sequence[list[int]] = [*self.honest.values(), *self.attacked.values()]
        rows = np.zeros((len(noted), detections + bands))
        for row, (mask, band) in zip(rows, noted, strict=True):
            row[[bit for bit in range(detections) if mask >> bit & 1]] = 1.0
            row[detections : detections + band] = 1.0
        attack = np.arange(len(noted)) >= len(self.honest)
        return Sessions(rows, attack, np.array([self.kinds.get(key, "") for key in whose], np.str_))
