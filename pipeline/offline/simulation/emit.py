"""Emitter of events: turns the sessions and devices of a planned day into events, lazily and in event-time order.

It knows only the form of events; the plan decides what happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from random import Random
from typing import Any, Final

from pipeline.offline.replay.recording import TOPIC_OF
from pipeline.offline.simulation.plan import MINUTE, SECOND, Day, DevicePlan, Session
from pipeline.offline.simulation.world.operations import call, walk
from pipeline.offline.simulation.world.places import Network
from pipeline.offline.simulation.world.population import rng_for

Timed = tuple[int, str, dict[str, Any]]
"""Time (ms), topic and event."""

REATTEST: Final = 7 * MINUTE
"""Age of an attestation at which a device renews it."""
WAKES: Final = 12 * SECOND
SLEEPS: Final = 150 * SECOND
"""How long before its first session a device starts to report, and how long after its last it stops."""
RECONNECTS: Final = (300, 4_000)
"""Range in ms that a telemetry agent takes to report from the new network of its device."""
SEQUENCES_A_DAY: Final = 10_000

by_time: Final = itemgetter(0)


def emit(run: str, day: Day) -> Iterator[Timed]:
    """Yield all events of *day* in order."""
    streams = [telemetry(run, day, plan) for plan in day.devices.values() if plan.device.reporting]
    for session in day.sessions:
        streams.append(iter(_auth_and_extra_events(session)))
        streams.append(_calls(session, rng_for(run, session.session_id)))
    return merge(*streams, key=by_time)


def telemetry(run: str, day: Day, plan: DevicePlan) -> Iterator[Timed]:
    """Yield what the device of *plan* reports while, and shortly before and after, it is used."""
    rng = rng_for(run, plan.device.device_id, day.number)
    posture = {"tenant": day.owner.tenant.name, "device_id": plan.device.device_id, **plan.device.posture()}
    pending = sorted((*plan.changes, *_moves(run, day, plan.device.device_id)), key=by_time)
    sequence = day.number * SEQUENCES_A_DAY
    attested_at = 0
    for start, end in _in_use(day, plan.device.device_id):
        at = start
        while at <= end:
            if plan.silent_from is not None and at >= plan.silent_from:
                return
            while pending and pending[0][0] <= at:
                posture.update(pending.pop(0)[1])
            if _attests(plan, at, attested_at):
                attested_at = at
            sequence += 1
            if not any(since <= at < until for since, until in plan.gaps):
                yield _report(plan, posture, sequence, at, attested_at)
            following = at + int(posture["heartbeat_interval_ms"]) + rng.randint(-1500, 1500)
            at = min(following, pending[0][0]) if pending else following


def _moves(run: str, day: Day, device_id: str) -> list[tuple[int, dict[str, Any]]]:
    """Networks of the device itself, by time (ms): its agent reports from a new one a moment after its owner moved.

    An intruder in a session has neither the device nor its agent.
    """
    rng = rng_for(run, device_id, day.number, "reconnects")
    moves: list[tuple[int, Network]] = []
    for session in day.sessions:
        if session.device_id == device_id and session.kind == "human" and not session.foreign:
            stolen_at = session.end if session.attacked_at is None else session.attacked_at
            moved = [
                (change.at, change.network) for change in session.changes if change.network and change.at < stolen_at
            ]
            moves += [(session.start - WAKES, session.network), *moved]
    moves.sort(key=by_time)
    return [
        (at + rng.randint(*RECONNECTS), {name: network.fields()[name] for name in ("ip", "asn")})
        for at, network in moves
    ]


def _report(plan: DevicePlan, posture: dict[str, Any], sequence: int, at: int, attested_at: int) -> Timed:
    """One telemetry report. A clock set back dates it too early; one set forward dates the attestation too late.

    The time of arrival is by the receiver's clock, which is right.
    """
    off = plan.clock_off if plan.clock_from is not None and at >= plan.clock_from else 0
    fields = {
        "type": "device.telemetry",
        "event_id": f"{plan.device.device_id}-{sequence}",
        "occurred_at": at + min(off, 0),
        **posture,
        "sequence": sequence,
        "attested_at": attested_at + max(off, 0),
        "recorded_at": at,
    }
    return at, TOPIC_OF["device.telemetry"], fields


def _attests(plan: DevicePlan, at: int, attested_at: int) -> bool:
    if plan.unattested_from is not None and at >= plan.unattested_from:
        return at == plan.unattested_from
    return at - attested_at >= REATTEST


def _in_use(day: Day, device_id: str) -> list[tuple[int, int]]:
    """Spans (ms) in which a device is in use: around its sessions, joined if they are close."""
    spans: list[tuple[int, int]] = []
    for session in sorted(day.sessions, key=lambda session: session.start):
        if session.device_id != device_id:
            continue
        start, end = session.start - WAKES, session.end + SLEEPS
        if spans and start <= spans[-1][1] + 5 * MINUTE:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _shared_fields(session: Session) -> list[tuple[int, dict[str, Any]]]:
    """The fields that all events of the session share, each with the time (ms) from which they apply."""
    fields: dict[str, Any] = {
        "tenant": session.tenant,
        "session_id": session.session_id,
        "principal_id": session.principal_id,
        "principal_kind": session.kind,
    }
    if session.device_id is not None:
        fields["device_id"] = session.device_id
    fields |= session.network.fields() | session.client.fields()
    fields["token_id"] = f"{session.session_id}.0"
    found = [(0, fields)]
    turns: list[tuple[int, dict[str, Any]]] = [
        (at, {"token_id": f"{session.session_id}.{number}"}) for number, at in enumerate(session.refreshes, start=1)
    ]
    for change in session.changes:
        network = {} if change.network is None else change.network.fields()
        turns.append((change.at, network | ({} if change.client is None else change.client.fields())))
    for at, turn in sorted(turns, key=by_time):
        fields = fields | turn
        found.append((at, fields))
    return found


def _auth_and_extra_events(session: Session) -> list[Timed]:
    """The auth events of a session, and the extra events of its plan."""
    rows: list[tuple[int, str, dict[str, Any]]] = [
        (session.start + after, "auth.event", {"action": action, **fields}) for after, action, fields in session.opening
    ]
    rows += [(at, "auth.event", {"action": "token_refreshed"}) for at in session.refreshes]
    rows += [(extra.at, extra.type, extra.fields) for extra in session.extras]
    if session.closed:
        rows.append((session.end, "auth.event", {"action": "sign_out"}))
    rows.sort(key=by_time)
    shared_fields = _shared_fields(session)
    events: list[Timed] = []
    for number, (at, kind, own) in enumerate(rows):
        shared = next(fields for since, fields in reversed(shared_fields) if since <= at)
        event = {"type": kind, "event_id": f"{session.session_id}-e{number}", "occurred_at": at, **shared}
        event |= own
        events.append((at, TOPIC_OF[kind], {name: value for name, value in event.items() if value is not None}))
    return events


def _calls(session: Session, rng: Random) -> Iterator[Timed]:
    """The ordinary calls of a session, at its pace, from after the opening until its end."""
    shared_fields = iter(_shared_fields(session))
    _, shared = next(shared_fields)
    following = next(shared_fields, None)
    operations = walk(session.operations, session.habit, rng)
    short, long, pause = session.pace
    at = session.start + session.opening[-1][0] + 800
    end = session.end if session.idle_from is None else session.idle_from
    number = 0
    while True:
        gap = rng.expovariate(1 / long) if pause and rng.random() < pause else rng.expovariate(1 / short)
        at += 250 + int(gap * SECOND)
        if at >= end:
            return
        while following is not None and following[0] <= at:
            shared = following[1]
            following = next(shared_fields, None)
        number += 1
        yield (
            at,
            TOPIC_OF["api.call"],
            {
                "type": "api.call",
                "event_id": f"{session.session_id}-c{number}",
                "occurred_at": at,
                **shared,
                **call(next(operations), rng),
            },
        )
