"""Identity switches: two sessions of a real recording are exchanged at a known time, so takeovers have exact labels.

The method is that of CLUE-LDS (Landauer et al. 2022, "A User and Entity Behavior Analytics Log Data Set for Anomaly
Detection in Cloud Computing"): from a certain time on, the activity of one user is logged as the other's. The events
stay real; only their owners are changed. In the harder form the intruder also has the victim's address and client, so
that only the behaviour differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from pydantic_core import from_json

from pipeline.offline.replay.recording import read, write
from pipeline.sources.ground_truth import Truth
from schemas.topics import API_CALLS

Origin = Literal["detonation", "preparation", "other"]
ORIGINS: Final[tuple[Origin, ...]] = ("detonation", "preparation", "other")


def origin_of(event: Mapping[str, Any]) -> Origin:
    """The origin of *event*. Stratus also marks Terraform's calls, which are preparation."""
    client = event.get("user_agent") or ""
    if "Terraform/" in client:
        return "preparation"
    return "detonation" if "stratus-red-team_" in client else "other"


OWN: Final = (
    "tenant",
    "session_id",
    "principal_id",
    "principal_kind",
    "token_id",
    "key_thumbprint",
    "device_id",
)
"""Fields of the owner of an event; all others, including address and client, belong to the actor."""
CLIENT: Final = ("ip", "asn", "country", "latitude", "longitude", "network_type", "user_agent", "ja4")
"""Fields of the network and software of an event."""
MIN_CALLS: Final = 20
FAMILY: Final = "identity_switch"
DETONATED: Final = "detonated"
"""Family of sessions in which the lab itself ran an attack before the exchange."""

Event = dict[str, Any]
Session = tuple[str, str]
Calls = Mapping[Session, Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """From *at* (ms) on, the calls of a *pair* of sessions are exchanged; *fields* stay with the session."""

    pair: tuple[Session, Session]
    at: int
    fields: tuple[str, ...]

    def victim(self, actor: Session) -> Session:
        """The session in which *actor* continues."""
        return self.pair[actor == self.pair[0]]


def switched(recording: Path, folder: Path, count: int, seed: int, *, keep_client: bool = False) -> Iterator[Path]:
    """Write up to *count* copies of *recording* below *folder*, each with one pair of sessions exchanged.

    The two sessions have different principals and at least :data:`MIN_CALLS` calls; they are exchanged when each has
    made half of its calls. *keep_client*: addresses and clients stay with the sessions, too.
    """
    events = [(record.topic, from_json(record.value)) for record in read(recording)]
    calls = _calls(events)
    busy = sorted(key for key, own in calls.items() if len(own) >= MIN_CALLS)
    pairs = [pair for pair in combinations(busy, 2) if _principal(calls, pair[0]) != _principal(calls, pair[1])]
    Random(seed).shuffle(pairs)  # noqa: S311 - no secret is drawn
    fields = OWN + CLIENT if keep_client else OWN
    for number, pair in enumerate(pairs[:count]):
        at = max(calls[session][len(calls[session]) // 2]["occurred_at"] for session in pair)
        target = folder / f"switch-{number}{'-same-client' * keep_client}"
        _write(target, events, calls, Exchange(pair, at, fields))
        yield target


def _calls(events: Iterable[tuple[str, Event]]) -> dict[Session, list[Event]]:
    calls: defaultdict[Session, list[Event]] = defaultdict(list)
    for topic, event in events:
        if topic == API_CALLS:
            calls[event.get("tenant", "default"), event["session_id"]].append(event)
    return calls


def _principal(calls: Calls, session: Session) -> str:
    return str(calls[session][0]["principal_id"])


def _write(target: Path, events: Sequence[tuple[str, Event]], calls: Calls, exchange: Exchange) -> None:
    own = {session: _last_before(calls[session], exchange.at) for session in exchange.pair}
    with write(target) as writer:
        for topic, event in events:
            key = (event.get("tenant", "default"), event.get("session_id", ""))
            swap = topic == API_CALLS and key in own and event["occurred_at"] >= exchange.at
            victim = own[exchange.victim(key)] if swap else {}
            writer.event(topic, {**event, **{name: victim.get(name) for name in exchange.fields if swap}})
        for key in sorted(calls):
            writer.truth(_truth(key, calls, exchange))


def _last_before(calls: Sequence[Event], at: int) -> Event:
    return max((call for call in calls if call["occurred_at"] < at), key=_when, default=calls[0])


def _truth(key: Session, calls: Calls, exchange: Exchange) -> Truth:
    """The ground truth of a session: it is taken over with the first call of the other actor, if there is one.

    If the lab ran an attack in it before, that attack is the one to be found.
    """
    own = calls[key]
    first, last = own[0]["occurred_at"], own[-1]["occurred_at"]
    family, begins = "as_recorded", first
    detonated = [_when(event) for event in own if origin_of(event) == "detonation"]
    if key in exchange.pair:
        foreign = [_when(call) for call in calls[exchange.victim(key)] if _when(call) >= exchange.at]
        detonated = [at for at in detonated if at < exchange.at]
        if foreign:
            family, begins, last = FAMILY, min(foreign), max(last, *foreign)
    if detonated:
        family, begins = DETONATED, min(detonated)
    return Truth(
        tenant=key[0],
        session_id=key[1],
        label="benign" if family == "as_recorded" else "attack",
        family=family,
        started_at=begins,
        ended_at=last,
    )


def _when(event: Event) -> int:
    at: int = event["occurred_at"]
    return at
