"""Two sessions of a real recording change hands at a known time: takeovers with an exact truth.

The recipe is that of CLUE-LDS (Landauer et al. 2022, "A User and Entity Behavior Analytics Log Data Set for
Anomaly Detection in Cloud Computing"): from one moment on, what one user does is logged as the other's. The
events stay real; only whose they are is a lie.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Final

from pydantic_core import from_json

from pipeline.recording import Truth, read, write
from schemas.topics import API_CALLS

OWN: Final = (
    "tenant",
    "session_id",
    "principal_id",
    "principal_kind",
    "token_id",
    "key_thumbprint",
    "device_id",
)
"""What says whose an event is; the rest, address and client too, comes with whoever acts."""
LEAST_CALLS: Final = 20
FAMILY: Final = "identity_switch"

Event = dict[str, Any]
Session = tuple[str, str]


def switched(recording: Path, folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Write up to *count* copies of *recording* below *folder*, each with one pair of sessions exchanged.

    The pair is of two principals and of sessions with at least :data:`LEAST_CALLS` calls; they change hands
    when the quieter of them is half over.
    """
    events = [(record.topic, from_json(record.value)) for record in read(recording)]
    calls = _calls(events)
    busy = sorted(key for key, own in calls.items() if len(own) >= LEAST_CALLS)
    pairs = [
        pair for pair in combinations(busy, 2) if _principal(calls, pair[0]) != _principal(calls, pair[1])
    ]
    Random(seed).shuffle(pairs)  # noqa: S311 - no secret is drawn
    for number, pair in enumerate(pairs[:count]):
        target = folder / f"switch-{number}"
        _write(target, events, calls, pair)
        yield target


def _calls(events: Iterable[tuple[str, Event]]) -> dict[Session, list[Event]]:
    calls: defaultdict[Session, list[Event]] = defaultdict(list)
    for topic, event in events:
        if topic == API_CALLS:
            calls[event.get("tenant", "default"), event["session_id"]].append(event)
    return calls


def _principal(calls: dict[Session, list[Event]], session: Session) -> str:
    return str(calls[session][0]["principal_id"])


def _write(
    target: Path,
    events: Sequence[tuple[str, Event]],
    calls: dict[Session, list[Event]],
    pair: tuple[Session, Session],
) -> None:
    at = max(own[len(own) // 2]["occurred_at"] for own in (calls[pair[0]], calls[pair[1]]))
    other = {pair[0]: calls[pair[1]][0], pair[1]: calls[pair[0]][0]}
    with write(target) as writer:
        for topic, event in events:
            key = (event.get("tenant", "default"), event.get("session_id", ""))
            swap = topic == API_CALLS and key in other and event["occurred_at"] >= at
            whose = {name: other[key].get(name) for name in OWN} if swap else {}
            writer.event(topic, {**event, **whose})
        for key, own in sorted(calls.items()):
            writer.truth(_truth(key, own, at, key in pair))


def _truth(key: Session, own: Sequence[Event], at: int, switched: bool) -> Truth:  # noqa: FBT001 - a row's label
    return Truth(
        tenant=key[0], session_id=key[1], label="attack" if switched else "benign",
        family=FAMILY if switched else "as_recorded",
        started_at=at if switched else own[0]["occurred_at"], ended_at=own[-1]["occurred_at"],
    )  # fmt: skip
