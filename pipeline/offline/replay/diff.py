"""Comparison of two replays: which decisions and commands differ, session by session, and in which fields.

Two decisions correspond if event, session and epoch are the same, whatever was decided; then their ids are equal.
Model and policy usually differ on purpose, so that difference is reported once and not for each decision.
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
"""Fields of a decision that are compared, besides the contributions of its reasons."""

Session = tuple[str, str]
"""Tenant and session id."""
Pair = tuple[Any, Any]
"""The values in A and in B."""


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that differs. *only* names the side that has it, if the other does not.

    *members* are the fields that differ, *reasons* the contributions in log-odds, None if a side lacks the reason.
    """

    decision_id: str
    caused_by: str | None
    occurred_at: int
    only: str = ""
    members: dict[str, Pair] = field(default_factory=dict)
    reasons: dict[str, Pair] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command that only one side has, with its detections."""

    topic: str
    command_id: str
    only: str
    detections: list[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A session whose decisions or commands differ."""

    tenant: str
    session_id: str
    decisions: list[Change]
    commands: list[Command]


@dataclass(frozen=True, slots=True)
class ReplayOutput:
    """The output of one replay, as far as it is compared."""

    decisions: dict[Session, dict[str, dict[str, Any]]]
    commands: dict[Session, dict[tuple[str, str], list[str]]]
    models: list[str]
    policies: list[str]

    @property
    def sessions(self) -> set[Session]:
        """Every session with a decision or a command."""
        return {*self.decisions, *self.commands}


def read_output(folder: Path) -> ReplayOutput:
    """Read the output that `replay --out` wrote into *folder*.

    Raises:
        RecordingError: there is no output of a replay.
    """
    if not any((folder / f"{topic}.jsonl").is_file() for topic in OUTPUT_TOPICS):
        raise RecordingError(f"{folder} has no output of a replay: give the output folder of `replay --out`")
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
    return ReplayOutput(dict(decisions), dict(commands), sorted(models), sorted(policies))


def differences(first: ReplayOutput, second: ReplayOutput) -> list[Difference]:
    """Return the sessions that differ, by tenant and session id, with their decisions in order of time."""
    found = []
    for session in sorted(first.sessions | second.sessions):
        decisions = _decisions(first.decisions.get(session, {}), second.decisions.get(session, {}))
        commands = _commands(first.commands.get(session, {}), second.commands.get(session, {}))
        if decisions or commands:
            found.append(Difference(*session, decisions, commands))
    return found


def summary(first: ReplayOutput, second: ReplayOutput, found: list[Difference]) -> dict[str, Any]:
    """Return numbers of differences; pairs are of A and B."""
    changes = [change for difference in found for change in difference.decisions]
    commands = [command for difference in found for command in difference.commands]
    return {
        "models": [first.models, second.models],
        "policies": [first.policies, second.policies],
        "sessions": len(first.sessions | second.sessions),
        "sessions_differ": len(found),
        "decisions": [sum(map(len, side.decisions.values())) for side in (first, second)],
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


def _decisions(first: dict[str, dict[str, Any]], second: dict[str, dict[str, Any]]) -> list[Change]:
    changes = []
    for decision_id in {**first, **second}:
        a, b = first.get(decision_id), second.get(decision_id)
        fields: dict[str, Any] = a or b or {}
        identity = (decision_id, fields["caused_by"], fields["occurred_at"])
        if a is None or b is None:
            changes.append(Change(*identity, "B" if a is None else "A", reasons=_reasons(a, b)))
        elif a != b:
            members = {name: (a[name], b[name]) for name in COMPARED if a[name] != b[name]}
            changes.append(Change(*identity, members=members, reasons=_reasons(a, b)))
    return sorted(changes, key=lambda change: (change.occurred_at, change.decision_id))


def _reasons(a: dict[str, Any] | None, b: dict[str, Any] | None) -> dict[str, Pair]:
    first, second = (side["reasons"] if side else {} for side in (a, b))
    pairs = {name: (first.get(name), second.get(name)) for name in sorted({*first, *second})}
    return {name: (value, other) for name, (value, other) in pairs.items() if value != other}


def _commands(first: dict[tuple[str, str], list[str]], second: dict[tuple[str, str], list[str]]) -> list[Command]:
    only = [(*key, "A", first[key]) for key in sorted(set(first) - set(second))]
    only += [(*key, "B", second[key]) for key in sorted(set(second) - set(first))]
    return [Command(*command) for command in only]


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
                raise RecordingError(f"{path}, line {number}: not JSON: {error}") from error
