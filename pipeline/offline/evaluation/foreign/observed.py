"""What a replay did to each session of a labelled world: commands, detections that fired, and the highest score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydantic_core import from_json

from models.state.table import SessionTable, Subject
from pipeline.detections import DETECTIONS
from pipeline.detections.mask import as_int
from pipeline.offline.evaluation.foreign.labelled import LabelledSession, LabelledWorld
from pipeline.offline.replay.labels import SessionKey
from pipeline.processing.processor import Message
from pipeline.sessions.fast_path import ScoredChunk
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK

_NEVER: Final = 2**62
"""A time after every event."""


@dataclass(slots=True)
class ObservedSession:
    """A session with what a replay did to it. Times are ms since 1970.

    Attributes:
        revocations: time and detections of each revocation sent.
        challenges: the same of each challenge, by its id; one that is sent again counts once.
        fired_honest: detections that held in honest time, as a mask.
        fired_attacked: detections that held after the attack began, as a mask.
        score: the highest sum of contributions of a decision, in log-odds: of an honest session until a minute after
            its end, of an attacked one since the beginning of the attack; 0 if there was no such decision.
        anomaly: the highest score of the anomaly model in the same time, which orders sessions of equal *score*.
    """

    session: LabelledSession
    revocations: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    challenges: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    fired_honest: int = 0
    fired_attacked: int = 0
    score: float = 0.0
    anomaly: float = 0.0

    def false_revocation(self) -> tuple[int, tuple[str, ...]] | None:
        """Time and detections of the first revocation, if it came in honest time."""
        first = min(self.revocations, default=None)
        return first if first is not None and first[0] < self.session.false_until else None

    def false_challenges(self) -> list[int]:
        """Times of the challenges in honest time."""
        return [at for at, _ in self.challenges.values() if at < self.session.false_until]

    def responses(self) -> list[int]:
        """Times of all interventions after the attack began."""
        challenged = (at for at, _ in self.challenges.values() if self.session.is_under_attack(at))
        return sorted([*self.revocations_of_attack(), *challenged])

    def revocations_of_attack(self) -> list[int]:
        """Times of the revocations after the attack began."""
        return [at for at, _ in self.revocations if self.session.is_under_attack(at)]


class Observer:
    """Collects what a replay does; pass :meth:`look` to the session processor as its ``onlooker``."""

    def __init__(self, world: LabelledWorld) -> None:
        self._world = world
        self._observed = {key: ObservedSession(session) for key, session in world.sessions.items()}
        self._occurred_at: dict[str, int] = {}

    @property
    def sessions(self) -> Sequence[ObservedSession]:
        """All judged sessions, in the order of the world's truth."""
        return list(self._observed.values())

    def is_honest(self, tenant: str, session_id: str, at: int) -> bool:
        """Whether the owner controls the session at *at* (ms); so does that of a session that is not judged."""
        session = self._world.sessions.get((tenant, session_id))
        return session is None or not session.is_under_attack(at)

    def observe(self, message: Message) -> None:
        """Add *message*, if it is a decision or a command about a judged session."""
        if message.topic not in (SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        record = from_json(message.value)
        observed = self._observed.get((record["tenant"], record["session_id"]))
        if observed is None:
            return
        if message.topic == SESSION_RISK:
            self._decided(observed, record)
        elif message.topic == SESSION_REVOCATIONS:
            observed.revocations.append((self._time(record), tuple(record["detections"])))
        else:
            command = self._time(record), tuple(record["detections"])
            observed.challenges.setdefault(record["challenge_id"], command)

    def _decided(self, observed: ObservedSession, decision: Mapping[str, Any]) -> None:
        session, at = observed.session, decision["occurred_at"]
        self._occurred_at[decision["decision_id"]] = at
        if session.is_under_attack(at) if session.is_attacked else at < session.false_until:
            total = math.fsum(reason["contribution"] for reason in decision["reasons"])
            observed.score = max(observed.score, total)

    def _time(self, command: Mapping[str, Any]) -> int:
        """When a command was decided; that of the event behind it if the time cannot be one of this world."""
        decided_at: int = command["decided_at"]
        if self._world.is_inside(decided_at):
            return decided_at
        return self._occurred_at.get(command["decision_id"], decided_at)

    def look(self, table: SessionTable, chunk: ScoredChunk) -> None:
        """Add the detections that held in a chunk, and anomaly scores, before and after the beginning of an attack."""
        seg, at = chunk.folded.seg, chunk.folded.at
        found = [self._observed.get(key_of(table.names[row])) for row in seg.keys.tolist()]
        honest_until = np.array([seen.session.false_until if seen else 0 for seen in found])[seg.of]
        attacked_at = np.array([_response_from(seen.session) if seen else _NEVER for seen in found])[seg.of]
        for name, chosen in (("fired_honest", at < honest_until), ("fired_attacked", at >= attacked_at)):
            mask = np.bitwise_or.reduceat(np.where(chosen[:, None], chunk.mask, 0), seg.starts, axis=0)
            for owner in np.flatnonzero(mask.any(axis=1)).tolist():
                seen = found[owner]
                if seen is not None:
                    setattr(seen, name, getattr(seen, name) | as_int(mask[owner]))
        is_attacked = np.array([bool(seen and seen.session.is_attacked) for seen in found])[seg.of]
        counts = np.where(is_attacked, at >= attacked_at, at < honest_until)
        highest = np.maximum.reduceat(np.where(counts, chunk.score, 0.0), seg.starts)
        for seen, score in zip(found, highest.tolist(), strict=True):
            if seen is not None:
                seen.anomaly = max(seen.anomaly, score)


def key_of(packed: bytes) -> SessionKey:
    """Tenant and session id of a row's *packed* names."""
    names = Subject.unpack(packed)
    return names.tenant, names.session_id


def _response_from(session: LabelledSession) -> int:
    return _NEVER if session.attacked_at is None else session.false_until


def detections_in(mask: int) -> list[str]:
    """The ids of the detections in *mask*, in the order of the table."""
    return [detection.id for bit, detection in enumerate(DETECTIONS) if mask >> bit & 1]
