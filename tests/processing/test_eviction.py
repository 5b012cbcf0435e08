"""What one tenant does in masses costs nobody else a session, a revocation, a memory or a turn."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.contexts.network import network_context
from pipeline.kafka.time_alignment import EventTimeAligner
from pipeline.processing.eviction import Key, TenantFairLru
from pipeline.sessions.processor import Options
from schemas.topics import (
    API_CALLS,
    AUTH_EVENTS,
    DEVICE_TELEMETRY,
    SESSION_CONTEXT,
    SESSION_REVOCATIONS,
    SESSION_RISK,
)
from tests.support.run_processors import Desk, Event, Player, Rec, of, read, record
from tests.support.samples import attempt, auth, call, context, telemetry

POLICY = "[guard]\nrevocations_per_minute = 3\n"


# --- Sessions and revocations ---


def _own() -> list[Event]:
    """Two sessions of acme: one falls with its phone, the other reads on."""
    subject: dict[str, Any] = {"tenant": "acme"}
    return [
        auth(0, **subject, event_id="a-1"),
        auth(1, **subject, session_id="s-2", principal_id="ben", event_id="a-2"),
        context(30, **subject, rooted=True, event_id="a-3"),
        call(50, **subject, session_id="s-2", principal_id="ben", records=6_000, event_id="a-4"),
    ]


def _flood() -> list[Event]:
    """Three hundred sessions of globex, all at once, every second of them on a jailbroken phone."""
    names = [{"tenant": "globex", "session_id": f"g-{at}", "principal_id": f"p-{at}"} for at in range(300)]
    return [
        *(auth(2 + at / 100, **name) for at, name in enumerate(names)),
        *(
            context(6 + at / 100, tenant="globex", session_id=name["session_id"], rooted=True)
            for at, name in enumerate(names[::2])
        ),
    ]


def _received(events: list[Event]) -> tuple[Desk, dict[str, list[Event]]]:
    desk = Desk(POLICY, options=Options(max_sessions=20))
    desk.each(*sorted(events, key=lambda event: int(event["occurred_at"])))
    outputs = read(desk.messages)
    topics = (SESSION_RISK, SESSION_REVOCATIONS)
    return desk, {
        topic: [this_event for this_event in of(outputs, topic) if this_event["tenant"] == "acme"] for topic in topics
    }


def test_a_flood_of_sessions_and_revocations_changes_nothing_for_another_tenant() -> None:
    _, alone = _received(_own())

    desk, flooded = _received(_own() + _flood())

    assert [event["session_id"] for event in alone[SESSION_REVOCATIONS]] == ["s-1"]
    assert flooded == alone
    assert desk.counts["evicted_sessions",] >= 200
    assert desk.counts["revocations", "held"] > 0
    assert sorted(key for key in desk.rows if key.startswith(b"acme")) == [b"acme\xffs-1", b"acme\xffs-2"]


# --- What is remembered ---


def _spray(tenant: str, start: int) -> list[Event]:
    """A password tried on twelve people from one network, and the one whom it let in."""
    network: dict[str, Any] = {"tenant": tenant, "network": "192.0.2"}
    failed = [
        attempt(start + at, **network, action="sign_in_failed", principal_id=f"p-{at}", event_id=f"f-{at}")
        for at in range(12)
    ]
    return [*failed, attempt(start + 40, **network, event_id="let-in")]


def test_a_flood_of_networks_makes_nobody_else_forget_where_an_attack_comes_from() -> None:
    spray = _spray("acme", 0)
    alone, flooded = (Player(network_context(max_records=10)) for _ in range(2))
    alone.each(*spray)

    flooded.each(*spray[:-1])
    flooded.play(*(attempt(20, tenant="globex", network=f"198.51.{at}") for at in range(500)))
    flooded.each(spray[-1])

    assert [event["signals"] for event in alone.output(SESSION_CONTEXT)] == [["sprayed_network"]]
    assert [event for event in flooded.output(SESSION_CONTEXT) if event["tenant"] == "acme"] == alone.output(
        SESSION_CONTEXT
    )
    assert flooded.counts["evicted_records",] == 491


def test_who_takes_over_forgets_the_same_networks_next() -> None:
    player = Player(network_context(max_records=3))
    player.each(*(attempt(at, tenant=name, network=f"n-{at}") for at, name in enumerate("abaa")))
    other = Player(network_context(max_records=3))
    other.stage.restore(player.rows.items())
    other.rows = dict(player.rows)

    for each in (player, other):
        each.play(attempt(9, tenant="b", network="n-9"))

    assert sorted(player.rows) == sorted(other.rows) == [b"a\xffn-2", b"a\xffn-3", b"b\xffn-9"]


keys = st.tuples(st.sampled_from("abcd"), st.sampled_from("123456"))


@given(st.lists(keys, max_size=60), st.integers(1, 8))
def test_room_is_never_more_than_full_and_nobody_within_their_share_makes_room(used: list[Key], most: int) -> None:
    room, held = TenantFairLru(most), dict[Key, None]()
    for key in used:
        held.pop(key, None)
        held[key] = None
        counts = Counter(tenant for tenant, _ in held)
        room.use(key)
        gone = room.to_evict(key)

        assert (gone is not None) == (len(held) > most)
        if gone is not None:
            assert gone != key
            assert counts[gone[0]] >= min(max(counts.values()), most / len(counts))
            assert gone == next(this_key for this_key in held if this_key[0] == gone[0] and this_key != key)
            room.forget(gone)
            del held[gone]


# --- Whose turn it is ---


def _lined_up(events: list[Event]) -> list[Rec]:
    return [record(event, offset) for offset, event in enumerate(events)]


def test_a_flood_of_calls_comes_after_what_everybody_else_has_to_say_but_calls() -> None:
    aligner: EventTimeAligner[str] = EventTimeAligner(512, 5_000, lambda topic: 0 if topic == API_CALLS else 60_000)
    flood = [call(at / 1_000, tenant="globex") for at in range(20_000)]
    aligner.add(API_CALLS, _lined_up([*flood, call(20, tenant="acme")]))
    aligner.add(AUTH_EVENTS, _lined_up([auth(19, tenant="acme", action="token_reused")]))
    aligner.add(DEVICE_TELEMETRY, _lined_up([telemetry(19.5, tenant="acme", rooted=True)]))

    chunks = [aligner.next_chunk() for _ in range(3)]

    assert [(topic, len(chunk)) for topic, chunk in chunks] == [
        (AUTH_EVENTS, 1),
        (DEVICE_TELEMETRY, 1),
        (API_CALLS, 512),
    ]
