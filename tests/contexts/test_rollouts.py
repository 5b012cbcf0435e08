"""Rollout tracker: what many devices do in the same hour is a rollout, also after a restart."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.contexts.device.processor import DeviceContext, device_context
from pipeline.contexts.device.rollouts import RolloutTracker
from schemas import topics
from tests.support.run_processors import NOW, Event, Player, by_key, chunks, of, read
from tests.support.samples import T0, binding, telemetry

GOOD: dict[str, Any] = {"heartbeat_interval_ms": 60_000, "screen_lock": True, "encrypted": True}
BAD = {**GOOD, "screen_lock": False}


def phones(number: int, at: float, apart: float = 1, **members: Any) -> list[Event]:
    return [telemetry(at + apart * n, device_id=f"phone-{n}", **members) for n in range(number)]


def signals_when_bound(one: Player, device_id: str, at: float) -> list[str]:
    """The signals that a session gets when it is bound to the device."""
    sent = one.play(binding(at, device_id=device_id, session_id=f"on-{device_id}-{at}"))
    return list(of(sent, topics.SESSION_CONTEXT)[0]["signals"])


def notified(one: Player, *events: Event) -> list[list[str]]:
    """The signals in all messages that follow from *events*."""
    return [event["signals"] for event in of(one.each(*events), topics.SESSION_CONTEXT)]


def bound(number: int) -> Player:
    """So many phones, healthy, with a session on each."""
    player = Player(device_context())
    player.each(*phones(number, 0, **GOOD))
    player.each(*(binding(30, device_id=f"phone-{n}", session_id=f"s-{n}") for n in range(number)))
    return player


LOWERED = ["posture_downgraded"]


def test_a_few_of_many_are_each_suspected() -> None:
    assert notified(bound(100), *phones(4, 60, **BAD)) == [LOWERED] * 4


def test_from_a_twentieth_of_the_devices_on_it_is_a_rollout_and_counted() -> None:
    player = bound(100)

    assert notified(player, *phones(50, 60, **BAD)) == [*([LOWERED] * 4), *([[]] * 46)]
    assert player.counts["suppressed", "rollout"] == 46


def test_those_suspected_first_are_excused_with_their_next_report() -> None:
    player = bound(50)
    player.each(*phones(50, 60, **BAD))

    assert notified(player, *phones(50, 120, **BAD)) == [[]] * 50
    assert player.counts["suppressed", "rollout"] == 50


def test_a_session_is_notified_why_a_downgrade_is_excused() -> None:
    player = bound(50)
    player.each(*phones(3, 60, **BAD))

    events = of(player.each(*phones(3, 120, **BAD)), topics.SESSION_CONTEXT)

    why = {"posture_downgraded": "many of the tenant's devices did the same, as in a rollout"}
    assert [(body["signals"], body["details"]) for body in events] == [([], why)] * 3


def test_two_phones_are_no_rollout() -> None:
    assert notified(bound(2), *phones(2, 60, **BAD)) == [LOWERED] * 2
    assert notified(bound(3), *phones(3, 60, **BAD)) == [*([LOWERED] * 2), []]


def test_what_is_excused_stays_excused_when_the_others_are_forgotten() -> None:
    player = bound(20)
    player.each(*phones(20, 60, apart=60, **BAD))

    last = notified(player, *(telemetry(at, device_id="phone-19", **BAD) for at in range(1300, 4800, 60)))

    assert last == [[]] * len(last)


def test_downgrades_of_different_facts_are_not_added_up() -> None:
    player = bound(20)
    player.each(*phones(20, 60, **BAD))

    assert notified(player, telemetry(130, device_id="phone-19", **{**BAD, "encrypted": False})) == [LOWERED]


def test_one_phone_that_flaps_is_not_many() -> None:
    player = bound(20)
    flaps = [telemetry(60 + at, device_id="phone-0", **(GOOD if at % 2 else BAD)) for at in range(40)]

    assert notified(player, *flaps) == [LOWERED, []] * 20


def test_devices_of_different_tenants_are_not_added_up() -> None:
    player = bound(20)
    player.each(*phones(20, 0, tenant="zeta", **GOOD), *phones(20, 40, tenant="zeta", **BAD))

    assert notified(player, *phones(1, 80, **BAD)) == [LOWERED]


def test_an_hour_later_it_is_no_rollout_any_more() -> None:
    player = bound(20)
    player.each(*phones(10, 60, **BAD))

    assert notified(player, telemetry(3800, device_id="phone-19", **BAD)) == [LOWERED]


def test_devices_are_counted_in_bounded_memory() -> None:
    rollouts, minute = RolloutTracker(), 60_000
    for at in range(minute, 1_000 * minute, minute):
        rollouts.add_report("t", at - minute, at)
        rollouts.add_downgrade("t", "managed", at - minute, at)
        rollouts.add_downgrade("t", "managed", 0, at)

    assert max(len(counts) for counts in (*rollouts._active.values(), *rollouts._downgraded.values())) <= 181


STEPS = st.builds(
    lambda at, n, members: telemetry(at, device_id=f"phone-{n}", **members),
    st.integers(0, 9000),
    st.integers(0, 7),
    st.sampled_from([GOOD, BAD, BAD, {**GOOD, "encrypted": False}, {"attested_at": T0 + 20_000_000}]),
)
STREAMS = st.lists(STEPS, min_size=5, max_size=40)


@given(STREAMS, st.sets(st.integers(1, 60)), st.integers(1, 60))
@settings(max_examples=80)
def test_where_the_stream_is_cut_and_who_takes_over_changes_nothing(
    events: list[Event], cuts: set[int], crash: int
) -> None:
    events = [*(binding(0, device_id=f"phone-{n}", session_id=f"s-{n}") for n in range(8)), *events]
    player, other = Player(device_context()), Player(device_context())
    player.each(*events, now=NOW)
    for chunk in chunks(events[:crash], cuts):
        other.play(*chunk, now=NOW)
    other.stage = taken_over(other)
    for chunk in chunks(events[crash:], cuts):
        other.play(*chunk, now=NOW)

    assert by_key(read(other.messages)) == by_key(read(player.messages))
    assert other.rows == player.rows


def test_clocks_of_many_devices_are_no_rollout_for_whoever_takes_over_either() -> None:
    wrong = {"attested_at": T0 + 20_000_000}
    this_player, other = bound(20), bound(20)
    for player in (this_player, other):
        player.each(*phones(10, 60, **GOOD, **wrong))
    other.stage = taken_over(other)

    lineseses = [notified(player, *phones(10, 120, **GOOD, **wrong)) for player in (this_player, other)]

    assert lineseses == [[["clock_tampered"]] * 10] * 2


def taken_over(one: Player) -> DeviceContext:
    """Another worker, restored from the changelog."""
    stage = device_context()
    stage.restore(one.rows.items())
    stage.on_restored()
    return stage


@pytest.mark.parametrize("at", [3600, 86_399])
def test_a_session_that_begins_after_the_change_is_not_notified_of_it(at: float) -> None:
    player = Player(device_context())
    player.each(telemetry(0, device_id="phone-1", **GOOD), telemetry(60, device_id="phone-1", **BAD))

    assert signals_when_bound(player, "phone-1", at) == []
