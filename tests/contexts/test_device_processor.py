"""Device context: the newest value of every posture fact, sent to each live session when it changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contexts.device.processor import KEEP_MS, MAX_SESSIONS, device_context
from schemas import topics
from tests.support.run_processors import NOW, Event, Player, SentMessage, by_key, chunks, of, read
from tests.support.samples import T0, binding, telemetry

MINUTE = {"heartbeat_interval_ms": 60_000}


def device() -> Player:
    return Player(device_context())


def notified(sent: list[SentMessage], *members: str) -> list[tuple[Any, ...]]:
    """The messages to sessions: their id, and the fields *members*."""
    return [tuple(event.get(name) for name in ("session_id", *members)) for event in of(sent, topics.SESSION_CONTEXT)]


def test_a_session_is_notified_of_its_devices_posture_at_once() -> None:
    player = device()
    player.play(telemetry(0, rooted=True, attestation="failed", **MINUTE))

    (message,) = player.play(binding(5, event_id="b-1"))

    assert message == SentMessage(
        topics.SESSION_CONTEXT,
        "s-1",
        {
            "type": "session.context",
            "event_id": "b-1~d",
            "occurred_at": T0 + 5_000,
            "tenant": "default",
            "session_id": "s-1",
            "source": "device",
            "device_id": "phone-1",
            "heard_at": T0,
            "heartbeat_interval_ms": 60_000,
            "rooted": True,
            "attestation": "failed",
            "signals": [],
        },
    )


def test_the_silence_of_a_device_that_nobody_used_begins_with_its_next_session() -> None:
    player = Player(device_context())
    player.play(telemetry(0, **MINUTE))

    sent = player.each(binding(1800, session_id="s-1"), binding(1900, session_id="s-2"), telemetry(2000))

    pairs = [(key, body["heard_at"] - T0) for _, key, body in sent]
    assert pairs == [("s-1", 1_740_000), ("s-2", 1_740_000), ("s-1", 2_000_000), ("s-2", 2_000_000)]


def test_a_report_of_a_woken_device_whose_clock_is_behind_counts() -> None:
    player = device()
    player.each(telemetry(0, rooted=False, **MINUTE), binding(1800))

    assert notified(player.play(telemetry(1790, rooted=True)), "rooted") == [("s-1", True)]


def test_a_device_without_a_report_sends_nothing() -> None:
    assert device().play(binding(0)) == []


def test_a_change_reaches_every_live_session_and_none_that_ended() -> None:
    player = device()
    player.each(telemetry(0, **MINUTE), *(binding(1, session_id=f"s-{at}") for at in range(4)))
    player.play(binding(2, session_id="s-2", state="ended"))

    sent = player.play(telemetry(3, rooted=True))

    assert notified(sent, "rooted", "heard_at") == [(f"s-{at}", True, T0 + 3_000) for at in (0, 1, 3)]


def test_a_heartbeat_is_passed_on_at_most_every_half_interval() -> None:
    player = device()
    player.each(telemetry(0, sequence=0, **MINUTE), binding(0))

    sent = player.each(*(telemetry(at, sequence=at, **MINUTE) for at in range(5, 95, 5)))

    assert [(at - T0) / 1000 for _, at in notified(sent, "heard_at")] == [30, 60, 90]


def test_a_heartbeat_that_omits_a_fact_leaves_it_as_it_was() -> None:
    player = device()
    player.each(telemetry(0, rooted=True, **MINUTE), telemetry(60))

    assert notified(player.play(binding(61)), "rooted", "heard_at") == [("s-1", True, T0 + 60_000)]


def test_an_old_report_does_not_overrule_a_newer_one() -> None:
    player = device()
    player.each(telemetry(60, rooted=True, **MINUTE), binding(61), telemetry(30, rooted=False))

    assert notified(player.play(binding(62, session_id="s-2")), "rooted", "heard_at") == [("s-2", True, T0 + 60_000)]


def test_an_old_report_still_adds_facts_that_no_newer_one_has() -> None:
    player = device()
    player.each(telemetry(60, **MINUTE), binding(61))

    sent = player.play(telemetry(30, rooted=True, compliant=False))

    assert notified(sent, "rooted", "compliant", "heard_at") == [("s-1", True, False, T0 + 60_000)]
    assert player.counts["late_events", topics.DEVICE_TELEMETRY] == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["rooted", "managed", "hooked"]), st.booleans()),
        max_size=12,
    )
)
@settings(max_examples=60)
def test_the_order_of_arrival_does_not_change_what_is_known(reports: list[tuple[int, str, bool]]) -> None:
    newest: dict[str, tuple[int, bool]] = {}
    for at, name, value in reports:
        if at >= newest.get(name, (0, False))[0]:
            newest[name] = (at, value)
    player = device()
    player.each(telemetry(0, **MINUTE), *(telemetry(at, **{name: value}) for at, name, value in reports))

    (known,) = notified(player.play(binding(20)), "rooted", "managed", "hooked")

    assert known == ("s-1", *(newest.get(name, (0, None))[1] for name in ("rooted", "managed", "hooked")))


def test_devices_of_two_tenants_are_two() -> None:
    player = device()
    player.play(telemetry(0, rooted=True, tenant="zeta"))

    assert player.play(binding(1)) == []
    assert notified(player.play(binding(1, tenant="zeta")), "tenant", "rooted") == [("s-1", "zeta", True)]


def test_a_worker_that_takes_over_knows_the_same() -> None:
    player, other = device(), device()
    player.each(telemetry(0, rooted=True, **MINUTE), binding(1), binding(1, session_id="s-2"), telemetry(9))
    other.stage.restore(player.rows.items())
    other.stage.on_restored()

    ended = binding(10, session_id="s-2", state="ended")
    change = telemetry(11, hooked=True)
    assert other.each(ended, change) == player.each(ended, change)
    assert other.rows == {key: player.rows[key] for key in other.rows}


def test_a_device_without_sessions_is_forgotten_after_a_day() -> None:
    player = device()
    late = KEEP_MS / 1000 + 120
    player.each(telemetry(0), telemetry(0, device_id="phone-2"), binding(0, device_id="phone-2"))

    player.each(telemetry(late, device_id="phone-3"))

    assert sorted(player.rows) == [b"default\xffphone-2", b"default\xffphone-3"]


def test_an_idle_partition_forgets_by_the_wall_clock() -> None:
    player = device()
    player.play(telemetry(0), now=T0)

    player.sweep(T0 + KEEP_MS - 60_000)
    assert len(player.rows) == 1
    player.sweep(T0 + KEEP_MS + 60_001)

    assert player.rows == {}


def test_a_device_holds_no_more_sessions_than_fit_into_a_record() -> None:
    player = device()
    player.play(telemetry(0, **MINUTE))
    names = [f"{at:06d}" + "\U0001f600" * 122 for at in range(MAX_SESSIONS + 10)]
    for start in range(0, len(names), 500):
        player.play(*(binding(1, session_id=name) for name in names[start : start + 500]))

    assert player.counts["forgotten_sessions", "device"] == 10
    assert max(map(len, player.rows.values())) < 900_000


REPORTS = st.builds(
    lambda at, device_id, members: telemetry(at, device_id=device_id, **members),
    st.integers(0, 300),
    st.sampled_from(["phone-1", "phone-2"]),
    st.fixed_dictionaries(
        {},
        optional={
            "rooted": st.booleans(),
            "sequence": st.integers(0, 9),
            "heartbeat_interval_ms": st.just(60_000),
        },
    ),
)
BINDINGS = st.builds(
    lambda at, device_id, session_id, state: binding(at, device_id=device_id, session_id=session_id, state=state),
    st.sampled_from([0, 60, 2 * KEEP_MS / 1000]),
    st.sampled_from(["phone-1", "phone-2"]),
    st.sampled_from(["s-1", "s-2"]),
    st.sampled_from(["live", "live", "ended"]),
)


@given(st.lists(REPORTS | BINDINGS, min_size=1, max_size=30), st.sets(st.integers(1, 30)))
@settings(max_examples=80)
def test_where_the_stream_is_cut_changes_no_message(events: list[Event], cuts: set[int]) -> None:
    player, other = device(), device()
    player.each(*events, now=NOW + 2 * KEEP_MS)
    for chunk in chunks(events, cuts):
        other.play(*chunk, now=NOW + 2 * KEEP_MS)

    assert by_key(read(other.messages)) == by_key(read(player.messages))


@pytest.mark.parametrize("spoilt", [{"device_id": ""}, {"occurred_at": T0 // 1000}, {"event_id": None}])
def test_a_record_that_cannot_be_read_becomes_a_dead_letter(spoilt: dict[str, Any]) -> None:
    player = device()

    sent = player.play({**telemetry(0), **spoilt})

    assert [letter.topic for letter in sent] == [topics.DEAD_LETTERS]
    assert player.rows == {}
