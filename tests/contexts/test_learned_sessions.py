"""Sessions from which is learned: not those revoked or only guessed at, but those that an analyst trusts."""

from __future__ import annotations

import pytest

from pipeline.contexts.principal.known_attributes import MAX_REVOKED
from tests.support.histories import BERLIN, MUNICH
from tests.support.principals import CAFE, HOME, known, notified, principal
from tests.support.samples import activity


def test_what_a_revoked_session_taught_is_forgotten() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="thief", **CAFE))
    player.play(activity(70, session_id="thief", kind="revoked"))

    assert known(player.play(activity(80, session_id="s-2", **CAFE))) == [(True, False, True, True)]


def test_nothing_is_learned_from_a_failed_sign_in() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="guess", guess=True, **CAFE, **BERLIN))

    sent = player.play(activity(80, session_id="s-2", **CAFE, **MUNICH))

    assert known(sent) == [(True, False, True, True)]
    assert notified(sent, "place_speed_kmh", "strange_sessions") == [(None, 0)]


def test_a_session_that_begins_with_a_wrong_password_is_learned_from_once_it_is_signed_in() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="typo", guess=True, **CAFE))
    player.play(activity(70, session_id="typo", used=["scope:read"], **CAFE))

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
def test_what_a_revoked_session_taught_is_restored_when_an_analyst_trusts_it(
    words: list[tuple[float, str]],
) -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="trip", **CAFE))

    player.each(*(activity(at, session_id="trip", kind=kind) for at, kind in words))

    assert known(player.play(activity(90, session_id="s-2", **CAFE))) == [(True, True, True, True)]


def test_only_the_newest_of_many_revoked_sessions_can_be_trusted_again() -> None:
    player = principal()
    player.play(activity(0, **HOME))
    for at in range(MAX_REVOKED + 1):
        player.each(*(activity(at, session_id=f"t-{at}", kind=kind, asn=at) for kind in ("started", "revoked")))

    player.each(*(activity(60, session_id=f"t-{at}", kind="vouched") for at in range(MAX_REVOKED + 1)))

    asked = [known(player.play(activity(90, kind="client_changed", asn=at)))[0][1] for at in (0, 1)]
    assert asked == [False, True]
