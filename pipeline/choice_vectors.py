"""Feature vectors of a recording, as the scorer saw them, with what the truth says of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from models.columns import PRINCIPAL_KIND
from models.features import FEATURE_NAMES
from models.roles import Roles
from pipeline.brain import Brain
from pipeline.kinds import stage_kinds
from pipeline.policy import Policy
from pipeline.recording import InputRecord, Truth, read
from pipeline.replay import Replay
from pipeline.scorer import Options
from schemas.topics import SESSION_FEATURES

SessionKey = tuple[str, str]
"""Tenant and session id."""
PARTITIONS: Final = 1
NEVER: Final = int(np.iinfo(np.int64).max)


@dataclass(slots=True)
class Vectors:
    """What was scored, one row an event that was drawn.

    Attributes:
        values: features in own units, ``(n, f)``.
        kinds: the number of the principal's kind, ``(n,)``.
        sessions: which session each is of, an index into *names*, ``(n,)``.
        names: tenant and id of each session.
        at: event time, ms, ``(n,)``.
        attack: whether the attack was on, as far as the truth is known, ``(n,)``.
        attacked: whether its session was attacked at any time, ``(n,)``.
        attacked_sessions: how many sessions the truth says were attacked.
        family: of each session, an empty text where the truth is not known.
        first, last: the recording's first and last event time, ms.
    """

    values: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    sessions: NDArray[np.int64]
    names: list[SessionKey]
    at: NDArray[np.int64]
    attack: NDArray[np.bool_]
    attacked: NDArray[np.bool_]
    attacked_sessions: int
    family: list[str]
    first: int
    last: int

    def __len__(self) -> int:
        return len(self.values)


@dataclass(slots=True)
class _Rows:
    """Collects the told vectors until they become arrays."""

    values: list[list[float]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    names: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, told: dict[str, Any]) -> None:
        self.values.append([told["values"][name] for name in FEATURE_NAMES])
        self.kinds.append(PRINCIPAL_KIND[told["principal_kind"] or ""])
        self.at.append(told["occurred_at"])
        who = (told["tenant"], told["session_id"])
        self.sessions.append(self.names.setdefault(who, len(self.names)))


def vectors_of(
    records: Iterable[InputRecord], truth: Iterable[Truth], policy: Policy, options: Options, share: float,
    roles: Roles | None = None,
) -> Vectors:  # fmt: skip
    """Play *records* by *policy* without a detector and keep a *share* of the vectors, drawn by event id.

    Without *roles* no call is surprising.
    """
    brain = Brain(roles=roles)
    brain.use_policy(policy.model_copy(update={"low_features_share": share}))
    stages = Replay(stage_kinds(brain, options), PARTITIONS)
    clock, rows = _Clock(), _Rows()
    for message in stages.run(clock.watch(records)):
        if message.topic == SESSION_FEATURES:
            told = from_json(message.value)
            if _drawn(told, share):
                rows.take(told)
    return _labelled(rows, {(row.tenant, row.session_id): row for row in truth}, clock)


def share_for(recording: Path, most: int) -> float:
    """The share of a recording's vectors that makes about *most* of them."""
    lines = sum(record.topic != "device-telemetry" for record in read(recording))
    return min(1.0, most / max(1, lines))


def _labelled(rows: _Rows, truth: dict[tuple[str, str], Truth], clock: _Clock) -> Vectors:
    names = list(rows.names)
    known = [truth.get(name) for name in names]
    begins = np.array([one.started_at if one and one.label == "attack" else NEVER for one in known], np.int64)
    sessions, at = np.array(rows.sessions, np.int64), np.array(rows.at, np.int64)
    return Vectors(
        values=np.array(rows.values, np.float64).reshape(-1, len(FEATURE_NAMES)),
        kinds=np.array(rows.kinds, np.uint8),
        sessions=sessions,
        names=names,
        at=at,
        attack=at >= begins[sessions],
        attacked=begins[sessions] < NEVER,
        attacked_sessions=sum(row.label == "attack" for row in truth.values()),
        family=[one.family if one else "" for one in known],
        first=clock.first,
        last=clock.last,
    )


class _Clock:
    """Notes the first and the last time of a recording, ms."""

    def __init__(self) -> None:
        self.first = self.last = 0

    def watch(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        for record in records:
            self.first = self.first or record.occurred_at
            self.last = max(self.last, record.occurred_at)
            yield record


def _drawn(told: dict[str, Any], share: float) -> bool:
    """Whether a vector is in the sample: all of MEDIUM and HIGH are logged, so those are drawn here."""
    if told["level"] == "LOW":
        return True
    drawn = int.from_bytes(blake2b(told["event_id"].encode(), digest_size=8).digest())
    return drawn < share * 2.0**64
