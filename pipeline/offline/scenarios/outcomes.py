"""Outcome of a story: decisions and commands for each session, compared with the expected ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json

from pipeline.offline.scenarios.scenario import Expectation, Scenario
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK

_LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
_ACTIONS: Final = ("allow", "hold_for_approval", "step_up", "revoke")
_COMMANDED: Final = {SESSION_CHALLENGES: "step_up", SESSION_REVOCATIONS: "revoke"}


@dataclass(slots=True)
class Ending:
    """One session: its highest *level*, the strongest *action* commanded or held, all detections, its last level."""

    level: str = "LOW"
    action: str = "allow"
    because: set[str] = field(default_factory=set)
    final_level: str = "LOW"

    def __str__(self) -> str:
        if self == Ending():
            return "left alone"
        ended = "" if self.final_level == self.level else f", then {self.final_level}"
        why = f" ({', '.join(sorted(self.because))})" if self.because else ""
        return f"{self.level} {self.action}{ended}{why}"


class Endings:
    """Collects the output records of a worker into one `Ending` per session."""

    def __init__(self) -> None:
        self._sessions: defaultdict[str, Ending] = defaultdict(Ending)
        self.revocation_ids: set[str] = set()

    def take(self, topic: str, value: bytes) -> None:
        """Add a record of *topic*, if it is a decision or a command."""
        if topic == SESSION_RISK:
            self._decided(from_json(value))
        elif topic in _COMMANDED:
            command = from_json(value)
            ending = self._sessions[command["session_id"]]
            ending.action = max(ending.action, _COMMANDED[topic], key=_ACTIONS.index)
            if topic == SESSION_REVOCATIONS:
                self.revocation_ids.add(command["revocation_id"])

    def _decided(self, decision: dict[str, Any]) -> None:
        ending = self._sessions[decision["session_id"]]
        ending.level = max(ending.level, decision["level"], key=_LEVELS.index)
        ending.final_level = decision["level"]
        if decision["action"] == "hold_for_approval":
            ending.action = max(ending.action, decision["action"], key=_ACTIONS.index)
        ending.because |= {reason["detection"] for reason in decision["reasons"] if reason["contribution"] > 0}

    def of(self, session_id: str) -> Ending:
        """Return the ending of a session, the default one if there was no record about it."""
        return self._sessions.get(session_id, Ending())

    def wrong(self, story: Scenario) -> list[str]:
        """Return a sentence for each difference from what *story* expects."""
        return [
            f"{story.name}, {session_id}: {difference}"
            for session_id, expected in story.expect.items()
            for difference in disagreements(expected, self.of(session_id))
        ]


def disagreements(expected: Expectation, ending: Ending) -> Iterator[str]:
    """Yield a sentence for each difference between *ending* and *expected*."""
    if ending.level != expected.level:
        yield f"reached {ending.level}, not {expected.level}"
    if ending.action != expected.action:
        yield f"{ending.action} was commanded, not {expected.action}"
    for detection in expected.because:
        if detection not in ending.because:
            yield f"{detection} was not among the reasons: {', '.join(sorted(ending.because)) or 'none'}"
    if expected.final_level is not None and ending.final_level != expected.final_level:
        yield f"ended at {ending.final_level}, not {expected.final_level}"
