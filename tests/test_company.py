"""Sessions of a principal beside each other: who hears of a crowd, and how often."""

from __future__ import annotations

from pipeline.company import CROWD, MOST_TOLD
from pipeline.principal import principal_context
from playing import Player, Said, of
from samples import activity
from schemas import topics

LAPTOP = {"device_id": "laptop-1", "asn": 64500}


def buyers(one: Player, first: int, last: int) -> list[Said]:
    """The sessions b-first to b-last sign in, each from a network of its own."""
    return one.each(*(activity(at, session_id=f"b-{at}", asn=64600 + at) for at in range(first, last + 1)))


def told(said: list[Said]) -> list[tuple[str, int, int]]:
    return [
        (key, body["strange_sessions"], body["strange_networks"])
        for topic, key, body in said
        if topic == topics.SESSION_CONTEXT
    ]


def principal() -> Player:
    """Somebody who had a session on a laptop and has another on it."""
    one = Player(principal_context())
    one.each(
        activity(0, session_id="o-1", **LAPTOP),
        activity(1, session_id="o-1", kind="ended"),
        activity(2, session_id="o-2", **LAPTOP),
    )
    return one


def test_a_crowd_of_sessions_hears_of_each_one_that_joins_it() -> None:
    one = principal()

    assert told(buyers(one, 1, CROWD - 1)) == [(f"b-{at}", at, at) for at in range(1, CROWD)]
    assert told(buyers(one, CROWD, CROWD)) == [(f"b-{at}", CROWD, CROWD) for at in (CROWD, 1, 2, 3)]


def test_the_session_on_the_principals_own_device_is_no_part_of_the_crowd() -> None:
    one = principal()
    buyers(one, 1, 6)

    assert told(one.play(activity(60, session_id="o-2", kind="client_changed", **LAPTOP))) == [("o-2", 0, 0)]


def test_what_a_crowd_hears_leaves_the_signals_as_they_were() -> None:
    one = principal()
    said = of(buyers(one, 1, CROWD), topics.SESSION_CONTEXT)

    assert ["signals" in body for body in said] == [True] * CROWD + [False] * (CROWD - 1)
    assert {body["sessions_seen"] is None for body in said[CROWD:] if "sessions_seen" in body} == set()


def test_a_crowd_that_only_comes_back_is_not_told_again_until_it_has_dispersed() -> None:
    one = principal()
    buyers(one, 1, 6)
    one.play(activity(60, session_id="b-6", kind="ended"))
    again = told(buyers(one, 6, 6))
    one.each(*(activity(70, session_id=f"b-{at}", kind="ended") for at in range(1, 7)))

    assert again == [("b-6", 6, 6)]
    assert len(told(buyers(one, 1, CROWD))) == CROWD + CROWD - 1


def test_what_is_said_stays_in_proportion_to_a_large_crowd() -> None:
    one = principal()
    said = told(buyers(one, 1, 400))

    assert len(said) < 6 * 400
    assert max(sum(number == size for _, number, _ in said) for size in range(1, 401)) == MOST_TOLD + 1
