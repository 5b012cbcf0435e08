"""A model played again, on Apache Kafka: a replay of what the topics still hold decides as the worker did."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.offline.replay.decision_log import OUTPUT_TOPICS
from pipeline.offline.scenarios.playback import Timed, steady
from schemas.topics import (
    API_CALLS,
    DEAD_LETTERS,
    DEVICE_TELEMETRY,
    SESSION_CHALLENGES,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
)
from tests.support.model_workers import PARTITIONS, Fleet, apart, ended_in_order
from tests.support.run_processors import topic_of
from tests.support.samples import T0, UNASKED, auth, call, telemetry

pytestmark = pytest.mark.kafka

WALL = ("decided_at", "scored_at", "deadline", "at")
"""Members that tell times by the wall clock, which in a replay is the clock of the events."""
GRID = 20
"""Seconds, at least, between two events of a household: what one leads to is known before the next, in a
worker as in a replay, however long a context takes to answer."""
POLICY = f"""
low_features_share = 1.0
{UNASKED}[detections.network_changed]
weight = 5.6
[detections.mass_read]
weight = 8.0
"""
"""Every vector is logged, and a move to a new network asks for a factor."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Workers whose sessions are never idle by the wall clock: a replay has none."""
    yield from ended_in_order(Fleet(tmp_path, policy=POLICY, sweep_s="600"))


def test_what_the_topics_hold_is_decided_on_by_a_replay_as_the_worker_did(fleet: Fleet, tmp_path: Path) -> None:
    suffix, out = f"-{fleet.name}", tmp_path / "out"
    ana: dict[str, Any] = {"session_id": f"ana{suffix}", "principal_id": f"ana{suffix}"}
    fleet.begin(before=[(API_CALLS, call(**ana, records=6_000, sensitivity="restricted"))])
    fleet.play(*apart(_households(suffix), 500 * GRID))

    since = datetime.fromtimestamp(fleet.begun / 1000, UTC).isoformat()
    where = ("--from-topics", "--since", since, "--partitions", str(PARTITIONS))
    fleet.order("replay", *where, "--out", str(out))

    by_key = _by_session(
        suffix, ((record.topic, record.value or b"") for record in fleet.output(suffix, *OUTPUT_TOPICS))
    )
    lines = ((path.stem, line) for path in out.iterdir() for line in path.read_bytes().splitlines())
    assert _by_session(suffix, lines) == by_key
    assert {(topic, name.removesuffix(suffix)) for topic, name in by_key if topic in ENDS} == {
        (SESSION_REVOCATIONS, "ana"),
        (SESSION_REVOCATIONS, "ben"),
        (SESSION_REVOCATIONS, "cara"),
        (SESSION_CHALLENGES, "cara"),
        (DEAD_LETTERS, "ben"),
    }


ENDS = (SESSION_REVOCATIONS, SESSION_CHALLENGES, DEAD_LETTERS)


def _households(suffix: str) -> list[Timed]:
    """A phone that is jailbroken, a mass read, a session that moves and is not stepped up; one bad record."""
    ana = {"session_id": f"ana{suffix}", "principal_id": f"ana{suffix}", "device_id": f"phone{suffix}"}
    ben = {"session_id": f"ben{suffix}", "principal_id": f"ben{suffix}"}
    cara = {"session_id": f"cara{suffix}", "principal_id": f"cara{suffix}"}
    before = cara | {"session_id": f"before{suffix}"}
    minutes = range(1, 16)
    phone = {"device_id": ana["device_id"], "platform": "ios", "heartbeat_interval_ms": 60_000}
    events = [
        *(telemetry(60 * at, **phone, rooted=at >= 3) for at in minutes),
        auth(20, **ana),
        *(call(60 * at + 20, **ana) for at in minutes),
        auth(20, **ben),
        *(call(60 * at + 20, **ben, records=6_000 * (at == 5), sensitivity="restricted") for at in minutes),
        auth(0, **before, asn=64_501),
        call(20, **before, asn=64_501),
        auth(40, **before, action="sign_out"),
        auth(60, **cara, asn=64_501),
        *(call(60 * at + 40, **cara, asn=64_501 if at < 7 else 64_502) for at in minutes),
    ]
    for number, event in enumerate(events):
        event["event_id"] = f"e-{number}{suffix}"
    no_call = {"type": "api.call", "session_id": ben["session_id"], "occurred_at": T0 + 300_000}
    times = steady(PARTITIONS, T0, T0 + 60_000 * minutes.stop, suffix, every_ms=1_000 * GRID)
    return [*((topic_of(event), event) for event in events), (API_CALLS, no_call), *_reported_before(times)]


def _reported_before(times: Iterable[Timed]) -> Iterator[Timed]:
    """Move each report half a grid ahead of the call of its time: which of the two is read first is chance."""
    for topic, event in times:
        earlier = 500 * GRID if topic == DEVICE_TELEMETRY else 0
        yield topic, event | {"occurred_at": event["occurred_at"] - earlier}


def _by_session(suffix: str, output: Iterable[tuple[str, bytes]]) -> dict[tuple[str, str], list[str]]:
    """What was said of each session on each topic, in order, but for times by the wall clock.

    Vectors are those of events that were sent: of what two contexts say at a time, either may come first.
    """
    kept: dict[tuple[str, str], list[str]] = defaultdict(list)
    for topic, value in output:
        details = json.loads(value)
        session = _session(topic, details)
        if session.endswith(suffix) and "~" not in details.get("event_id", ""):
            hidden = (*WALL, "offset") if topic == DEAD_LETTERS else WALL
            kept[topic, session].append(json.dumps({n: item for n, item in details.items() if n not in hidden}))
    return kept


def _session(topic: str, received: dict[str, Any]) -> str:
    if topic == DEAD_LETTERS:
        return b64decode(received["key"]).decode()
    session: str = (received["unmapped"] if topic == SESSION_FINDINGS else received)["session_id"]
    return session
