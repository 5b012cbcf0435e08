"""What is remembered about one session that gave cause: its episodes of evidence, commands sent, relatives.

Only sessions with something to remember have a case; it is the side table of their row and travels with it in
the changelog.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, Final

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
EVIDENCE: Final = 5
"""Event ids kept per episode: the first, and the newest."""
DEVICES: Final = 16
"""Former devices a session remembers."""
CHILDREN: Final = 1_000
"""Children a parent remembers; above it the oldest are forgotten, and counted by the caller."""
CHILDREN_BYTES: Final = 400_000
"""Of their names: a case fits into a changelog record, whatever they are."""


@dataclass(slots=True)
class DetectionEpisode:
    """One detection holding, from first to last: times in ms, the value observed, the events that show it.

    *told* is what a context observed, in its words. *role_usual* is what was usual in the session's role, if
    the model knows it: *at_tenant*, or at all tenants.
    """

    first_at: int
    last_at: int
    observed: float
    evidence: list[str] = field(default_factory=list)
    observed_text: str = ""
    usual: float | None = None
    role_usual: float | None = None
    at_tenant: bool = False

    def see(self, at: int, observed: float, usual: float | None, event_id: str, text: str = "") -> None:
        """It holds again; *usual* is what the principal's history says of *observed*, if it says anything."""
        self.last_at = max(self.last_at, at)
        self.observed, self.usual = observed, usual
        self.observed_text = text or self.observed_text
        if event_id not in self.evidence:
            if len(self.evidence) >= EVIDENCE:
                del self.evidence[1]
            self.evidence.append(event_id)


@dataclass(slots=True)
class Challenge:
    """An open step-up: until when, whether only silence asked for it, and every detection that counted.

    *asked_at* is when, ms; *unseen* whether by the deadline nobody had used the session since.
    """

    challenge_id: str
    deadline: int
    silence: bool
    detections: list[str] = field(default_factory=list)
    asked_at: int = 0
    unseen: bool = False


@dataclass(slots=True)
class Revocation:
    """The command that ended the session, kept until the enforcer says it is done."""

    command: dict[str, Any]
    due: int
    sends: int = 1
    acknowledged: bool = False


@dataclass(slots=True)
class SessionRiskState:
    """See the module. Times are ms of event time; 0 is never.

    *devices* are those the session was on before its present one, which also have to hear of its end.
    *shadows* is what was last told of each challenger that would differ: its level, and when.
    *answered* are detections that a proved factor answered for a while, and until when.
    *proved* are detections that held while a factor was proved: they say nothing until they stop and hold
    anew.
    """

    epoch: int = 0
    level: str = "LOW"
    level_since: int = 0
    episodes: dict[str, DetectionEpisode] = field(default_factory=dict)
    held_at_step_up: list[str] = field(default_factory=list)
    cleared_until: dict[str, int] = field(default_factory=dict)
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

    def empty(self) -> bool:
        """Whether there is nothing left to remember; what challengers would have done is not."""
        passing = SessionRiskState(
            epoch=self.epoch, level_since=self.level_since, reported_at=self.reported_at, shadows=self.shadows
        )
        return self == passing and not self.epoch

    def encode(self) -> bytes:
        """JSON of what differs from a new case."""
        fields_read = {name: value for name, fresh in _NEW if (value := getattr(self, name)) != fresh}
        return to_json(fields_read)

    @classmethod
    def decode(cls, packed: bytes) -> SessionRiskState:
        """The inverse of :meth:`encode`, whichever version wrote it (:mod:`pipeline.processing.stored_fields`).

        Raises:
            UnreadableRow: *packed* is no JSON object, or a field of it is of another type.
        """
        try:
            stored = known_fields(cls, json.loads(packed), _FORMER_NAMES)
            if stored.get("challenge"):
                stored["challenge"] = Challenge(**known_fields(Challenge, stored["challenge"]))
            if stored.get("revocation"):
                stored["revocation"] = Revocation(**known_fields(Revocation, stored["revocation"]))
            stored["episodes"] = {
                detection: DetectionEpisode(**known_fields(DetectionEpisode, episode, _FORMER_NAMES_OF_EPISODE))
                for detection, episode in stored.get("episodes", {}).items()
            }
            return cls(**stored)
        except (ValueError, TypeError, AttributeError) as error:
            why = str(error).partition("\n")[0][:120]
            raise UnreadableRow(f"a case that cannot be read ({type(error).__name__}: {why})") from error


_NEW: Final = tuple(
    (this_field.name, getattr(SessionRiskState(), this_field.name)) for this_field in fields(SessionRiskState)
)
