"""Labelled worlds: a recording, the ground truth of its sessions, and what else is known about each session.

A world is a folder with `world.json` (`start` and `end` in ms, `volumes`: events by topic), `truth.jsonl` (as in a
recording, but a `family` may be null), `sessions.jsonl` (first and last moment, principal kind and `archetype`: the
kind of company) and the events. Sessions that are not in `truth.jsonl` are not judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipeline.offline.replay.labels import SessionKey
from pipeline.offline.replay.recording import RecordingError, lines
from pipeline.sources.ground_truth import SKEW_MS
from pipeline.times import HOUR_MS, MINUTE_MS

WORLD_FILE: Final = "world.json"
DAY_MS: Final = 24 * HOUR_MS
HARMLESS_AFTER_MS: Final = MINUTE_MS
"""A command this long after the last event of an honest session harms nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSession:
    """One judged session: the truth, and what is known about it. Times are ms since 1970.

    Attributes:
        company: the kind of company, such as `bank`.
        principal_kind: human, service, api_key or agent.
        family: of the attack; None for an honest session.
        first_at: the first moment of the session.
        last_at: the last moment of the session.
        attacked_at: when the attack began; None for an honest session.
        attack_over_at: when the attack ended; None for an honest session.
        first_day_until: end of the first 24 hours of its world.
    """

    tenant: str
    session_id: str
    company: str
    principal_kind: str
    family: str | None
    intensity: str | None
    first_at: int
    last_at: int
    attacked_at: int | None
    attack_over_at: int | None
    first_day_until: int

    @property
    def key(self) -> SessionKey:
        """Tenant and session id."""
        return self.tenant, self.session_id

    @property
    def is_attacked(self) -> bool:
        """Whether the session was attacked at some time."""
        return self.attacked_at is not None

    @property
    def honest_until(self) -> int:
        """The end of honest time: the beginning of the attack, or the last moment of an honest session."""
        return self.last_at if self.attacked_at is None else max(self.first_at, self.attacked_at - SKEW_MS)

    @property
    def false_until(self) -> int:
        """An intervention before this time is false."""
        return self.honest_until if self.is_attacked else self.last_at + HARMLESS_AFTER_MS

    def is_under_attack(self, at: int) -> bool:
        """Whether an intervention at *at* may be a response to the attack."""
        return self.attacked_at is not None and at >= self.attacked_at - SKEW_MS


@dataclass(frozen=True, slots=True)
class LabelledWorld:
    """A world, read except for its events. *start* and *end* are ms since 1970, *events* is their number."""

    folder: Path
    start: int
    end: int
    events: int
    sessions: Mapping[SessionKey, LabelledSession]

    def is_inside(self, at: int) -> bool:
        """Whether *at* can be a time of this world, and not of a wall clock or a wrong one."""
        return self.start - DAY_MS <= at <= self.end + 2 * DAY_MS


def worlds_in(folder: Path) -> list[Path]:
    """Return the folders of the worlds in *folder*, sorted by name; *folder* itself if it is a world.

    Raises:
        RecordingError: there is none.
    """
    if (folder / WORLD_FILE).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{WORLD_FILE}"))
    if not found:
        raise RecordingError(f"{folder} has no labelled world: expected a folder with a {WORLD_FILE} for each")
    return found


def number_of_events(folder: Path) -> int:
    """Return how many events the world in *folder* has, according to its `world.json`.

    Raises:
        RecordingError: `world.json` is wrong.
    """
    return _number_of_events(folder, _world(folder))


def read_world(folder: Path) -> LabelledWorld:
    """Read the world in *folder*.

    Raises:
        RecordingError: a file is missing, or a line is wrong; the message says which.
    """
    plain = _world(folder)
    start, end = (_integer(folder / WORLD_FILE, plain, name) for name in ("start", "end"))
    known = {row["session_id"]: row for _, row in _rows(folder, "sessions")}
    sessions = {}
    for number, row in _rows(folder, "truth"):
        try:
            session = _session(row, known[row["session_id"]], start + DAY_MS)
        except KeyError as error:
            where = f"{folder / 'truth.jsonl'}, line {number}"
            raise RecordingError(f"{where}: {error} is missing there or for that session in sessions.jsonl") from error
        sessions[session.key] = session
    if not sessions:
        raise RecordingError(f"{folder} is not labelled: it has no truth.jsonl, or an empty one")
    return LabelledWorld(folder, start, end, _number_of_events(folder, plain), sessions)


def _session(truth: dict[str, Any], known: dict[str, Any], first_day_until: int) -> LabelledSession:
    is_attacked = truth["label"] == "attack"
    return LabelledSession(
        tenant=truth["tenant"],
        session_id=truth["session_id"],
        company=known["archetype"],
        principal_kind=known["principal_kind"],
        family=truth["family"],
        intensity=truth["intensity"],
        first_at=known["session_started_at"],
        last_at=known["session_ended_at"],
        attacked_at=truth["started_at"] if is_attacked else None,
        attack_over_at=truth["ended_at"] if is_attacked else None,
        first_day_until=first_day_until,
    )


def _world(folder: Path) -> dict[str, Any]:
    path = folder / WORLD_FILE
    try:
        plain = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path} cannot be read: {error}") from error
    if not isinstance(plain, dict):
        raise RecordingError(f"{path}: expected an object")
    return plain


def _number_of_events(folder: Path, plain: dict[str, Any]) -> int:
    volumes = plain.get("volumes")
    if not isinstance(volumes, dict):
        raise RecordingError(f"{folder / WORLD_FILE}: volumes must be an object, events by topic")
    return sum(_integer(folder / WORLD_FILE, volumes, topic) for topic in volumes)


def _integer(path: Path, plain: dict[str, Any], name: str) -> int:
    value = plain.get(name)
    if not isinstance(value, int):
        raise RecordingError(f"{path}: {name} must be an integer, not {value!r}")
    return value


def _rows(folder: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in lines(folder, name):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RecordingError(f"{folder / name}.jsonl, line {number}: not JSON: {error}") from error
        yield number, row
