"""A recording whose outcome is known: who must be revoked, who must not, whatever happens to the workers.

Sessions of six kinds, so made that an event lost or counted twice changes the outcome: readers who read just
as much as they may, and readers who read one more. What a replay of it says is what must come of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from models.artefacts import SHIPPED
from pipeline.assembly import processor_specs
from pipeline.control.reloader import ConfigReloader, InitialConfig, Models
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.offline.scenarios.outcomes import Endings
from pipeline.offline.scenarios.playback import Timed, in_order
from pipeline.sessions.processor import Options
from schemas.decode import encode
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY, SESSION_FEATURES
from tests.support.samples import UNASKED

PARTITIONS = 8
CALLS = 24
"""Calls of a session."""
RECORDS = 10
"""Records one call reads."""
BORN_AFTER_MS = 1_500
"""How long after its parent a session that is born of another begins."""
LIMIT = (CALLS - 0.5) * RECORDS * 0.992
"""Records a session may read: half a call less than greedy ones do.

What was read counts half after ten minutes; of all that is read within 14 s 0.992 is left at the end.
"""

POLICY = f"""
name = "faults"
anomaly_weights = [0, 0, 0]
low_features_share = 1.0
[guard]
revocations_per_minute = 100000
[detections.mass_read]
weight = 8
[detections.mass_read.limits]
minimum = {LIMIT}
records = {LIMIT}
[detections.slow_exfiltration]
enabled = false
[detections.non_browser_client]
weight = 5.5
{UNASKED}"""
"""What is decided by: rules alone, so that it is plain what must come; every call's vector is logged."""

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0"
KINDS = {
    "honest": ("LOW", "allow"),
    "sparing": ("LOW", "allow"),
    "greedy": ("HIGH", "revoke"),
    "stolen": ("HIGH", "revoke"),
    "jailbroken": ("HIGH", "revoke"),
    "minted": ("HIGH", "revoke"),
    "scripted": ("MEDIUM", "step_up"),
}
"""The level each kind of session must end at, and what must be commanded."""


@dataclass(frozen=True, slots=True)
class Known:
    """The recording: *events* in order, the *sessions* in it by name with their kind, and what must come.

    *counted* is how many calls of its session there were with each call, by event id; older ones count less.
    """

    events: Sequence[Timed]
    sessions: dict[str, str]
    endings: Endings
    counted: dict[str, float]


@dataclass(frozen=True, slots=True)
class Size:
    """How many *honest* sessions there are, how many of each *other* kind, and for how many ms they go on."""

    honest: int = 150
    other: int = 12
    length_ms: int = 14_000


def known(seed: int, start_ms: int, suffix: str, policy: Path, size: Size | None = None) -> Known:
    """Return the recording that *seed* makes, beginning at *start_ms*; all ids in it end with *suffix*."""
    size = size or Size()
    chance = random.Random(seed)
    sessions = {
        f"{kind}-{number}{suffix}": kind
        for kind in KINDS
        for number in range(size.honest if kind == "honest" else size.other)
    }
    firsts = {name: start_ms + chance.randrange(size.length_ms // 8) for name in sessions}
    for name, kind in sessions.items():
        if kind == "minted":
            firsts[name] = firsts[_parent(name)] + BORN_AFTER_MS
    every = (size.length_ms * 7 // 8) // CALLS
    lives = [_life(name, kind, firsts[name], every) for name, kind in sessions.items()]
    events = in_order([timed for life in lives for timed in life])
    return Known(events, sessions, *_replayed(events, policy))


def count_of(vector: Mapping[str, Any]) -> float:
    """Return the member of a logged *vector* that a call of its session lost or counted twice must change."""
    return float(vector["values"]["calls_1h"])


def _replayed(events: Sequence[Timed], policy: Path) -> tuple[Endings, dict[str, float]]:
    active = ConfigReloader(InitialConfig(policy, "default", None, Models(SHIPPED))).active
    replay = Replay(processor_specs(active, Options(PARTITIONS)), PARTITIONS)
    records = (
        InputRecord(topic, line, encode(event), event["occurred_at"])
        for line, (topic, event) in enumerate(events, start=1)
    )
    calls = {event["event_id"] for topic, event in events if topic == API_CALLS}
    endings, counted = Endings(), {}
    for message in replay.run(records):
        endings.take(message.topic, message.value)
        if message.topic == SESSION_FEATURES and (details := from_json(message.value))["event_id"] in calls:
            counted[details["event_id"]] = count_of(details)
    assert (replay.dead_letters, set(counted)) == (0, calls)
    return endings, counted


def _parent(name: str) -> str:
    return name.replace("minted", "jailbroken")


def _life(name: str, kind: str, first: int, every: int) -> Iterator[Timed]:
    """Yield what a session of *kind* does: it signs in and calls; half-way something happens."""
    subject = {"session_id": name, "principal_id": f"of-{name}", "principal_kind": "human"}
    client: dict[str, Any] = {
        "token_id": f"token-{name}",
        "user_agent": BROWSER,
        "ja4": "t13d1516h2_aa0000000001_aa0000000002",
        "ip": "192.0.2.7",
        "asn": 64_500,
    }
    half = CALLS // 2
    if kind == "minted":
        subject |= {"principal_kind": "api_key"}
        yield _auth(first, subject, client, "token_exchanged", parent_session_id=_parent(name))
    else:
        if kind == "jailbroken":
            client |= {"device_id": f"phone-{name}"}
            yield _telemetry(first - 1, name, rooted=False)
            yield _telemetry(first + half * every + 1, name, rooted=True)
        yield _auth(first, subject, client, "sign_in")
    for number in range(1, _calls(kind) + 1):
        later = number > half
        if later and kind == "stolen":
            client |= {"user_agent": "curl/8.12.0", "ja4": "t13d_bad", "ip": "198.51.100.9", "asn": 64_666}
        if later and kind == "scripted":
            client |= {"user_agent": "curl/8.12.0"}
        reads = "confidential" if kind in {"greedy", "sparing"} else "public"
        yield _call(first + number * every, number, subject, client, reads)


def _calls(kind: str) -> int:
    return CALLS - 1 if kind == "sparing" else CALLS


def _call(at: int, number: int, subject_name: dict[str, Any], client: dict[str, Any], sensitivity: str) -> Timed:
    return API_CALLS, {
        "type": "api.call",
        "event_id": f"{subject_name['session_id']}-{number}",
        "occurred_at": at,
        "operation": "GET /accounts/{id}",
        "method": "GET",
        "status": 200,
        "records": RECORDS,
        "sensitivity": sensitivity,
        **subject_name,
        **client,
    }


def _auth(at: int, subject_name: dict[str, Any], client: dict[str, Any], action: str, **more: Any) -> Timed:
    return AUTH_EVENTS, {
        "type": "auth.event",
        "event_id": f"{subject_name['session_id']}-0",
        "occurred_at": at,
        "action": action,
        **subject_name,
        **client,
        **more,
    }


def _telemetry(at: int, name: str, *, rooted: bool) -> Timed:
    return DEVICE_TELEMETRY, {
        "type": "device.telemetry",
        "event_id": f"{name}-{'bad' if rooted else 'good'}",
        "occurred_at": at,
        "device_id": f"phone-{name}",
        "platform": "android",
        "rooted": rooted,
    }
