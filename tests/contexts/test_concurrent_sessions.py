"""Concurrent sessions of a principal: which are notified of many on unfamiliar devices, and how often."""

from __future__ import annotations

from pipeline.contexts.principal.concurrent_sessions import MAX_NOTIFIED, MIN_UNFAMILIAR
from pipeline.contexts.principal.processor import principal_context
from schemas import topics
from tests.support.run_processors import Event, Player, SentMessage, of
from tests.support.samples import activity

LAPTOP = {"device_id": "laptop-1", "asn": 64500}


def buyers(one: Player, first: int, last: int) -> list[SentMessage]:
    """The sessions b-first to b-last sign in, each from a network of its own."""
    return one.each(*(activity(at, session_id=f"b-{at}", asn=64600 + at) for at in range(first, last + 1)))


def notified(sent: list[SentMessage]) -> list[tuple[str, int, int]]:
    return [
        (key, body["strange_sessions"], body["strange_networks"])
        for topic, key, body in sent
        if topic == topics.SESSION_CONTEXT
    ]


def principal() -> Player:
    """Somebody who had a session on a laptop and has another on it."""
    player = Player(principal_context())
    player.each(
        activity(0, session_id="o-1", **LAPTOP),
        activity(1, session_id="o-1", kind="ended"),
        activity(2, session_id="o-2", **LAPTOP),
    )
    return player


def test_all_unfamiliar_sessions_are_notified_of_each_one_that_joins_them() -> None:
    player = principal()

    assert notified(buyers(player, 1, MIN_UNFAMILIAR - 1)) == [(f"b-{at}", at, at) for at in range(1, MIN_UNFAMILIAR)]
    assert notified(buyers(player, MIN_UNFAMILIAR, MIN_UNFAMILIAR)) == [
        (f"b-{at}", MIN_UNFAMILIAR, MIN_UNFAMILIAR) for at in (MIN_UNFAMILIAR, 1, 2, 3)
    ]


def test_a_session_on_the_principals_own_device_has_no_unfamiliar_ones_held_against_it() -> None:
    player = principal()
    buyers(player, 1, 6)

    assert notified(player.play(activity(60, session_id="o-2", kind="client_changed", **LAPTOP))) == [("o-2", 0, 0)]


def is_in(at: float, asn: int, session_id: str) -> Event:
    """The new device of a session reports from a network."""
    return activity(at, session_id=session_id, kind="device_moved", device_id="laptop-2", asn=asn)


def test_a_session_on_a_confirmed_device_has_no_unfamiliar_ones_held_against_it() -> None:
    """It is counted, because a device may be an intruder's; but its owner is not challenged because of the others."""
    player = principal()
    player.each(activity(5, session_id="o-3", device_id="laptop-2", asn=64501), is_in(6, 64501, "o-3"))

    assert notified(buyers(player, 1, MIN_UNFAMILIAR - 1)) == [
        *((f"b-{at}", at + 1, at + 1) for at in range(1, MIN_UNFAMILIAR)),
        *(("b-1", 4, 4), ("b-2", 4, 4)),
    ]
    again = activity(60, session_id="o-3", kind="client_changed", device_id="laptop-2", asn=64501)
    assert notified(player.play(again)) == [("o-3", 0, 0)]
    assert notified(player.play(activity(61, session_id="o-4", device_id="laptop-2", asn=64501))) == [("o-4", 0, 0)]


def test_a_session_on_a_new_device_that_is_elsewhere_is_unfamiliar() -> None:
    player = principal()
    player.each(activity(5, session_id="o-3", device_id="laptop-2", asn=64501), is_in(6, 64777, "o-3"))

    assert notified(buyers(player, 1, MIN_UNFAMILIAR - 1))[-3:] == [("o-3", 4, 4), ("b-1", 4, 4), ("b-2", 4, 4)]


def test_a_notice_of_more_unfamiliar_sessions_leaves_the_signals_as_they_were() -> None:
    player = principal()
    events = of(buyers(player, 1, MIN_UNFAMILIAR), topics.SESSION_CONTEXT)

    assert ["signals" in body for body in events] == [True] * MIN_UNFAMILIAR + [False] * (MIN_UNFAMILIAR - 1)
    assert {body["sessions_seen"] is None for body in events[MIN_UNFAMILIAR:] if "sessions_seen" in body} == set()


def test_sessions_are_not_notified_again_until_only_few_were_left() -> None:
    player = principal()
    buyers(player, 1, 6)
    player.play(activity(60, session_id="b-6", kind="ended"))
    again = notified(buyers(player, 6, 6))
    player.each(*(activity(70, session_id=f"b-{at}", kind="ended") for at in range(1, 7)))

    assert again == [("b-6", 6, 6)]
    assert len(notified(buyers(player, 1, MIN_UNFAMILIAR))) == MIN_UNFAMILIAR + MIN_UNFAMILIAR - 1


def test_the_number_of_notices_stays_in_proportion_to_many_sessions() -> None:
    player = principal()
    rows = notified(buyers(player, 1, 400))

    assert len(rows) < 6 * 400
    assert max(sum(number == size for _, number, _ in rows) for size in range(1, 401)) == MAX_NOTIFIED + 1
