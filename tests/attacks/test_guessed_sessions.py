"""Failed sign-ins beside real sessions: nobody got in, so they bind no device, get no command and spend no budget."""

from __future__ import annotations

import pytest

from pipeline.contexts.principal.processor import principal_context
from schemas import topics
from tests.support.run_processors import Desk, Player, of
from tests.support.samples import activity, auth, call, context
from tests.support.session_processor import desk, others

GUESSES = 40
SMALL_BUDGET = "[guard]\nrevocations_per_minute = 10"
"""Policy text: fewer revocations in a minute than there are guesses."""
ROOTED = {"source": "device", "rooted": True, "device_id": "phone-1"}


def _guesses(this_desk: Desk, action: str) -> None:
    for number in range(GUESSES):
        who = {"session_id": f"guess-{number}", "principal_id": f"name-{number}", "device_id": "phone-1"}
        this_desk.play(auth(number / 100, action=action, amr=None, **who))
        this_desk.play(context(1 + number / 100, session_id=f"guess-{number}", **ROOTED))


@pytest.mark.parametrize("action", ["sign_in_failed", "mfa_denied", "mfa_failed"])
def test_guesses_with_the_id_of_a_rooted_phone_are_bound_to_no_device_and_hold_no_revocation_up(action: str) -> None:
    this_desk = desk(SMALL_BUDGET)
    _guesses(this_desk, action)
    this_desk.play(auth(2, device_id="phone-2"))
    this_desk.play(context(3, **ROOTED | {"device_id": "phone-2"}))

    assert {event["session_id"] for event in this_desk.output(topics.SESSION_BINDINGS)} == {"s-1"}
    assert [event["session_id"] for event in this_desk.output(topics.SESSION_REVOCATIONS)] == ["s-1"]
    assert this_desk.output(topics.SESSION_CHALLENGES) == []


@pytest.mark.parametrize("entry", [auth(5), call(5), auth(5, action="token_refreshed")])
def test_a_session_that_somebody_gets_into_after_a_wrong_password_is_bound_and_judged(entry: dict[str, object]) -> None:
    this_desk = desk("")
    this_desk.play(auth(0, action="sign_in_failed", device_id="phone-1"))
    this_desk.play(entry)
    this_desk.play(context(6, **ROOTED))

    bound = [(event["device_id"], event["state"]) for event in this_desk.output(topics.SESSION_BINDINGS)]
    assert bound[0] == ("phone-1", "live")
    told = [(event["kind"], event.get("guess")) for event in this_desk.output(topics.PRINCIPAL_ACTIVITY)]
    assert told[:2] == [("started", True), ("started", None)]
    assert [event["session_id"] for event in this_desk.output(topics.SESSION_REVOCATIONS)] == ["s-1"]


def test_a_guess_after_the_sign_in_hides_no_session() -> None:
    this_desk = desk("")
    this_desk.each(auth(0), *(auth(at, action="sign_in_failed") for at in range(1, 4)), *others(5, 10))
    this_desk.play(context(11, **ROOTED))

    assert [event["session_id"] for event in this_desk.output(topics.SESSION_REVOCATIONS)] == ["s-1"]


def test_guesses_take_no_place_among_a_principals_sessions() -> None:
    player = Player(principal_context())
    player.play(activity(0, session_id="real"))
    guesses = [activity(at, session_id=f"guess-{at}", guess=True) for at in range(1, 1_200)]
    player.play(*guesses)

    said = of(player.play(activity(1_300, session_id="next")), topics.SESSION_CONTEXT)
    assert [(event["session_id"], event["concurrent_sessions"], event["sessions_seen"]) for event in said] == [
        ("next", 1, 1)
    ]


def test_a_guess_pushes_no_session_off_a_full_list() -> None:
    principals = principal_context()
    player = Player(principals)
    real = [f"real-{number}" for number in range(1_000)]
    player.play(*(activity(at, session_id=name) for at, name in enumerate(real)))
    player.play(activity(2_000, session_id="guess", guess=True))

    (principal,) = [state for (_, name), state in principals.records.items() if name == "ana"]
    assert list(principal.live) == real
