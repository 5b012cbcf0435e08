"""Two replays held against each other: which decisions and commands differ, session by session, and in what.

A decision is the same decision in both when event, session and epoch are, whatever was decided: its id says
so. Model and policy are what one wants to compare, so that they differ is told once, not of each decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from pipeline.offline.replay.recording import RecordingError
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK

COMMANDS: Final = {SESSION_REVOCATIONS: "revocation_id", SESSION_CHALLENGES: "challenge_id"}
COMPARED: Final = ("score", "level", "action", "suppressed")
"""Members of a decision that are compared, besides the contributions of its reasons."""

Session = tuple[str, str]
"""Tenant and session id."""
Pair = tuple[Any, Any]
"""What A says and what B says."""


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that is not the same, with what differs; *only* names the side that has it alone.

    *reasons* are contributions in log-odds, ``None`` where a side does not have the reason at all.
    """

    decision_id: str
    caused_by: str | None
    occurred_at: int
    only: str = ""
    members: dict[str, Pair] = field(default_factory=dict)
    reasons: dict[str, Pair] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that only one side gives, and for what."""

    topic: str
    command_id: str
    only: str
    detections: list[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A session about which the two say different things."""

    tenant: str
    session_id: str
    decisions: list[Change]
    commands: list[Command]


@dataclass(frozen=True, slots=True)
class Said:
    """What one replay said, as far as it is compared."""

    decisions: dict[Session, dict[str, dict[str, Any]]]
    commands: dict[Session, dict[tuple[str, str], list[str]]]
    models: list[str]
    policies: list[str]

    @property
    def sessions(self) -> set[Session]:
        """Every session that something was said of."""
        return {*self.decisions, *self.commands}


def said_in(folder: Path) -> Said:
    """Read what `replay --out` wrote into *folder*; raises `RecordingError` where it wrote nothing."""
    if not any((folder / f"{topic}.jsonl").is_file() for topic in OUTPUT_TOPICS):
        raise RecordingError(f"{folder} holds no replay's output: name what `replay --out` wrote")
    decisions: dict[Session, dict[str, dict[str, Any]]] = defaultdict(dict)
    commands: dict[Session, dict[tuple[str, str], list[str]]] = defaultdict(dict)
    models, policies = set(), set()
    for fields in _lines(folder, SESSION_RISK):
        decisions[_session(fields)][fields["decision_id"]] = _compared(fields)
        models.add(fields["model"])
        policies.add(fields["policy"])
    for topic, name in COMMANDS.items():
        for fields in _lines(folder, topic):
            commands[_session(fields)].setdefault((topic, fields[name]), fields["detections"])
    return Said(dict(decisions), dict(commands), sorted(models), sorted(policies))


def differences(old: Said, other: Said) -> list[Difference]:
    """Return where the two differ, by tenant and session, decisions in order of time."""
    found = []
    for session in sorted(old.sessions | other.sessions):
        decisions = _decisions(old.decisions.get(session, {}), other.decisions.get(session, {}))
        commands = _commands(old.commands.get(session, {}), other.commands.get(session, {}))
        if decisions or commands:
            found.append(Difference(*session, decisions, commands))
    return found


def summary(old: Said, other: Said, found: list[Difference]) -> dict[str, Any]:
    """Return what differs in numbers, each pair as A and B."""
    changes = [change for difference in found for change in difference.decisions]
    commands = [command for difference in found for command in difference.commands]
    return {
        "models": [old.models, other.models],
        "policies": [old.policies, other.policies],
        "sessions": len(old.sessions | other.sessions),
        "sessions_differ": len(found),
        "decisions": [sum(map(len, side.decisions.values())) for side in (old, other)],
        "decisions_only": [sum(change.only == side for change in changes) for side in "AB"],
        "decisions_changed": sum(not change.only for change in changes),
        "revocations_only": _only(commands, SESSION_REVOCATIONS),
        "challenges_only": _only(commands, SESSION_CHALLENGES),
    }


def plain(found: Iterable[Difference]) -> list[dict[str, Any]]:
    """Return the differences as plain values."""
    return [asdict(difference) for difference in found]


def _only(commands: list[Command], topic: str) -> list[int]:
    return [sum(command.only == side and command.topic == topic for command in commands) for side in "AB"]


def _decisions(old_decisions: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> list[Change]:
    changes = []
    for decision_id in {**old_decisions, **other}:
        a, b = old_decisions.get(decision_id), other.get(decision_id)
        fields: dict[str, Any] = a or b or {}
        place = (decision_id, fields["caused_by"], fields["occurred_at"])
        if a is None or b is None:
            changes.append(Change(*place, "B" if a is None else "A", reasons=_reasons(a, b)))
        elif a != b:
            members = {name: (a[name], b[name]) for name in COMPARED if a[name] != b[name]}
            changes.append(Change(*place, members=members, reasons=_reasons(a, b)))
    return sorted(changes, key=lambda change: (change.occurred_at, change.decision_id))


def _reasons(a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Pair]:
    item, other = (side["reasons"] if side else {} for side in (a, b))
    return {
        name: (item.get(name), other.get(name)) for name in sorted({*item, *other}) if item.get(name) != other.get(name)
    }


def _commands(old_commands: dict[tuple[str, str], list[str]], other: dict[tuple[str, str], list[str]]) -> list[Command]:
    lone = [(*key, "A", old_commands[key]) for key in sorted(set(old_commands) - set(other))]
    lone += [(*key, "B", other[key]) for key in sorted(set(other) - set(old_commands))]
    return [Command(*command) for command in lone]


def _compared(decision: dict[str, Any]) -> dict[str, Any]:
    reasons = {reason["detection"]: reason["contribution"] for reason in decision["reasons"]}
    members = {name: decision.get(name) for name in (*COMPARED, "caused_by", "occurred_at")}
    return {**members, "reasons": reasons}


def _session(fields: dict[str, Any]) -> Session:
    return fields["tenant"], fields["session_id"]


def _lines(folder: Path, topic: str) -> Iterable[dict[str, Any]]:
    path = folder / f"{topic}.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield from_json(line)
            except ValueError as error:
                raise RecordingError(f"{path}, line {number}: no JSON: {error}") from error
