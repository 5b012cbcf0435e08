"""The risk state of a session: its evidence, open challenge, revocation and relatives.

Only sessions with something to remember have one. It belongs to the session's row and is part of its changelog record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

from pydantic_core import to_json

from models.state.table import UnreadableRow
from pipeline.processing.stored_fields import known_fields

_FORMER_NAMES: Final = {
    "proved": "held_at_step_up",
    "answered": "cleared_until",
    "said": "last_reported",
    "said_at": "reported_at",
    "muted": "suppressed_until",
}
_FORMER_NAMES_OF_EPISODE: Final = {"told": "observed_text"}
"""Former names of fields, and the present ones: rows with the former are still read."""
Asked = Literal["factor", "approval"]
MAX_EVIDENCE: Final = 5
"""Event ids per episode: the first, and the newest."""
MAX_DEVICES: Final = 16
"""Former devices per session."""
MAX_CHILDREN: Final = 1_000
"""Child sessions per session; the caller forgets and counts the oldest above it."""
MAX_CHILDREN_BYTES: Final = 400_000
"""Length of their ids in total, so that any risk state fits into a changelog record."""


@dataclass(slots=True)
class DetectionEpisode:
    """The time during which one detection holds or still counts.

    Attributes:
        first_at: when it first held, ms.
        last_at: when it last held, ms.
        observed: the newest value observed.
        evidence: ids of events that show it, at most :data:`MAX_EVIDENCE`.
        observed_text: what a context observed, in its words.
        usual: the principal's usual value, if its baseline has one.
        role_usual: the usual value of the session's role, if the model knows it.
        at_tenant: whether *role_usual* is of the tenant's own cohort instead of all tenants.
    """

    first_at: int
    last_at: int
    observed: float
    evidence: list[str] = field(default_factory=list)
    observed_text: str = ""
    usual: float | None = None
    role_usual: float | None = None
    at_tenant: bool = False

    def extend(self, at_ms: int, observed: float, usual: float | None, event_id: str, text: str = "") -> None:
        """Record that the detection held at *at_ms* on *event_id*."""
        self.last_at = max(self.last_at, at_ms)
        self.observed, self.usual = observed, usual
        self.observed_text = text or self.observed_text
        if event_id not in self.evidence:
            if len(self.evidence) >= MAX_EVIDENCE:
                del self.evidence[1]
            self.evidence.append(event_id)


@dataclass(slots=True)
class Challenge:
    """An open challenge.

    Attributes:
        challenge_id: of the command that requested it.
        deadline: ms.
        silence: whether the level that led to it rests on silence alone.
        detections: ids of all detections that counted.
        asked_at: when it was requested, ms.
        unseen: whether the session was not used between request and deadline.
        is_approval: whether the session's owner was asked for an approval, not the person for a factor.
    """

    challenge_id: str
    deadline: int
    silence: bool
    detections: list[str] = field(default_factory=list)
    asked_at: int = 0
    unseen: bool = False
    is_approval: bool = False

    @property
    def asks(self) -> Asked:
        """What it asks for, in the words of the wire."""
        return "approval" if self.is_approval else "factor"


@dataclass(slots=True)
class Revocation:
    """The command that revoked the session, until an enforcer acknowledges it: *due* is its deadline, ms."""

    command: dict[str, Any]
    due: int
    sends: int = 1
    acknowledged: bool = False


@dataclass(slots=True)
class SessionRiskState:
    """What the policy engine remembers about a session. Times are event time in ms, 0 for never.

    Attributes:
        epoch: how many step-ups and sign-ins had something to clear; part of the ids of commands.
        level: the risk level.
        level_since: since when.
        episodes: by detection id.
        held_at_step_up: detections that held when a factor was proved; they cannot start an episode until they stop.
        cleared_until: detections that an answer cleared for a while, and until when.
        times_cleared: how often an answer has cleared each of them.
        challenge: the open step-up.
        revocation: the revocation.
        held_at: when the guard last held a command.
        parent: id of the parent session.
        root: id of the first session of the lineage.
        devices: devices the session was on before its present one; they too are notified of its end.
        children: ids of its child sessions.
        last_reported: the contributions in the last report.
        reported_at: when that was sent.
        finding: id of the open finding.
        finding_at: when it was created.
        ended_at: when the session ended.
        suppressed_until: detections reported as false positives, and until when they are suppressed.
        shadows: by challenger that differs, the level and time of its last report.
    """

    epoch: int = 0
    level: str = "LOW"
    level_since: int = 0
    episodes: dict[str, DetectionEpisode] = field(default_factory=dict)
    held_at_step_up: list[str] = field(default_factory=list)
    cleared_until: dict[str, int] = field(default_factory=dict)
    times_cleared: dict[str, int] = field(default_factory=dict)
    challenge: Challenge | None = None
    revocation: Revocation | None = None
    held_at: int = 0
    parent: str = ""
    root: str = ""
    devices: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    last_reported: list[str] = field(default_factory=list)
    reported_at: int = 0
    finding: str = ""
    finding_at: int = 0
    ended_at: int = 0
    suppressed_until: dict[str, int] = field(default_factory=dict)
    shadows: dict[str, list[Any]] = field(default_factory=dict)

    def is_empty(self) -> bool:
        """Whether nothing needs to be remembered; what challengers would have decided does not."""
        transient = SessionRiskState(
            epoch=self.epoch, level_since=self.level_since, reported_at=self.reported_at, shadows=self.shadows
        )
        return self == transient and not self.epoch

    def encode(self) -> bytes:
        """JSON of the fields that differ from those of a new state."""
        return to_json({name: value for name, new in _NEW if (value := getattr(self, name)) != new})

    @classmethod
    def decode(cls, encoded: bytes) -> SessionRiskState:
        """The inverse of :meth:`encode`, whichever version wrote it (:mod:`pipeline.processing.stored_fields`).

        Raises:
            UnreadableRow: *encoded* is not a JSON object, or one of its fields has another type.
        """
        try:
            stored = known_fields(cls, json.loads(encoded), _FORMER_NAMES)
            if stored.get("challenge"):
                stored["challenge"] = Challenge(**known_fields(Challenge, stored["challenge"]))
            if stored.get("revocation"):
                stored["revocation"] = Revocation(**known_fields(Revocation, stored["revocation"]))
            stored["episodes"] = {
                detection_id: DetectionEpisode(**known_fields(DetectionEpisode, episode, _FORMER_NAMES_OF_EPISODE))
                for detection_id, episode in stored.get("episodes", {}).items()
            }
            return cls(**stored)
        except (ValueError, TypeError, AttributeError) as error:
            why = str(error).partition("\n")[0][:120]
            raise UnreadableRow(f"a risk state that cannot be read ({type(error).__name__}: {why})") from error


_NEW: Final = tuple((column.name, getattr(SessionRiskState(), column.name)) for column in fields(SessionRiskState))
