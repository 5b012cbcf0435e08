"""Which sessions teach what is normal: not those revoked or guessed at, but those vouched for."""

from __future__ import annotations

import pytest

from pipeline.contexts.principal.known_attributes import MAX_REVOKED
from tests.support.histories import BERLIN, MUNICH
from tests.support.principals import CAFE, HOME, heard, known, principal
from tests.support.samples import activity


def test_what_a_revoked_session_taught_is_forgotten() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="thief", **CAFE))
    player.play(activity(70, session_id="thief", kind="revoked"))

    assert known(player.play(activity(80, session_id="s-2", **CAFE))) == [(True, False, True, True)]


def test_who_guesses_a_password_in_vain_teaches_nothing() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="guess", guess=True, **CAFE, **BERLIN))

    saids = player.play(activity(80, session_id="s-2", **CAFE, **MUNICH))

    assert known(saids) == [(True, False, True, True)]
    assert heard(saids, "place_speed_kmh", "strange_sessions") == [(None, 0)]


def test_who_gets_in_after_a_wrong_password_teaches_from_then_on() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="typo", guess=True, **CAFE))
    player.play(activity(70, session_id="typo", kind="used", used=["scope:read"], **CAFE))

    assert known(player.play(activity(80, session_id="s-2", **CAFE))) == [(True, True, True, True)]


def test_a_revoked_session_teaches_nothing_any_more() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="thief", **HOME))
    player.each(activity(70, session_id="thief", kind="revoked"), activity(80, kind="client_changed", **HOME))

    assert known(player.play(activity(90, session_id="s-2", **HOME))) == [(True, True, True, True)]


@pytest.mark.parametrize(
    "words",
    [[(70, "revoked"), (80, "vouched")], [(70, "vouched"), (70, "revoked")]],
    ids=["afterwards", "beforehand"],
)
def test_what_a_revoked_session_taught_holds_when_an_analyst_vouches_for_it(
    words: list[tuple[float, str]],
) -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="trip", **CAFE))

    player.each(*(activity(at, session_id="trip", kind=kind) for at, kind in words))

    assert known(player.play(activity(90, session_id="s-2", **CAFE))) == [(True, True, True, True)]


def test_only_the_newest_of_many_revoked_sessions_can_be_vouched_for() -> None:
    player = principal()
    player.play(activity(0, **HOME))
    for at in range(MAX_REVOKED + 1):
        player.each(*(activity(at, session_id=f"t-{at}", kind=kind, asn=at) for kind in ("started", "revoked")))

    player.each(*(activity(60, session_id=f"t-{at}", kind="vouched") for at in range(MAX_REVOKED + 1)))

    asked = [known(player.play(activity(90, kind="client_changed", asn=at)))[0][1] for at in (0, 1)]
    assert asked == [False, True]
