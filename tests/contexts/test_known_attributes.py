"""Known attributes of a principal over all sessions, and how new a session is compared with them."""

from __future__ import annotations

from typing import Any

from pipeline.contexts.principal.known_attributes import MAX_KNOWN
from schemas import topics
from tests.support.principals import CAFE, HOME, known, notified, principal
from tests.support.run_processors import SentMessage
from tests.support.samples import T0, activity


def test_for_a_new_principal_everything_is_new() -> None:
    (message,) = principal().play(activity(0, event_id="e-1~a", **HOME))

    assert message == SentMessage(
        topics.SESSION_CONTEXT,
        "s-1",
        {
            "type": "session.context",
            "event_id": "e-1~a~p",
            "occurred_at": T0,
            "tenant": "default",
            "session_id": "s-1",
            "source": "principal",
            "known_device": False,
            "known_asn": False,
            "known_country": False,
            "known_client": False,
            "novelty": 1.0,
            "concurrent_sessions": 0,
            "sessions_seen": 0,
            "signals": [],
            "days_known": 0,
            "usual": {},
            "usual_concurrent": 0,
            "hour_share": 0.0,
            "strange_sessions": 0,
            "strange_networks": 0,
        },
    )


def test_the_next_session_is_measured_by_the_one_before() -> None:
    player = principal()
    player.play(activity(0, **HOME))

    sent = player.play(activity(60, session_id="s-2", **CAFE))

    assert known(sent) == [(True, False, True, True)]
    assert notified(sent, "novelty", "sessions_seen", "concurrent_sessions") == [(0.25, 1, 1)]


def test_what_is_not_shown_is_neither_known_nor_new() -> None:
    player = principal()
    player.play(activity(0, **HOME))

    sent = player.play(activity(60, session_id="s-2", asn=64500))
    nothing = player.play(activity(61, session_id="s-3"))

    assert known(sent) == [(None, True, None, None)]
    assert notified(nothing, "novelty", "known_asn") == [(None, None)]


def test_a_network_is_known_by_its_number_or_by_its_prefix() -> None:
    player = principal()
    player.play(activity(0, asn=64500, ip="192.0.2.1"))

    asked: list[dict[str, Any]] = [
        {"asn": 64500},
        {"ip": "192.0.2.77"},
        {"asn": 64500, "ip": "203.0.113.1"},
        {"asn": 1},
        {"ip": "2001:db8::1"},
    ]
    messages = [
        known(player.play(activity(1, session_id=f"s-{at}", **fields)))[0][1] for at, fields in enumerate(asked, 2)
    ]

    assert messages == [True, True, True, False, False]


def test_an_update_of_the_client_is_the_same_client() -> None:
    player = principal()
    player.play(activity(0, user_agent="Firefox/140.0"))

    assert known(player.play(activity(1, kind="client_changed", user_agent="Firefox/141.0"))) == [
        (None, None, None, True)
    ]


def test_a_session_does_not_count_itself() -> None:
    player = principal()
    player.play(activity(0, **HOME))

    sent = player.play(activity(60, kind="client_changed", **CAFE))

    assert notified(sent, "sessions_seen", "concurrent_sessions", "known_asn") == [(0, 0, False)]


def test_an_ended_session_is_not_concurrent_any_more_but_was_seen() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(10, kind="ended"))

    assert notified(player.play(activity(60, session_id="s-2")), "sessions_seen", "concurrent_sessions") == [(1, 0)]


def test_an_activity_delivered_again_is_no_second_session() -> None:
    player = principal()
    first = activity(0, **HOME)
    player.each(first, first)

    assert notified(player.play(activity(60, session_id="s-2")), "sessions_seen", "concurrent_sessions") == [(1, 1)]


def test_principals_of_two_tenants_are_two() -> None:
    player = principal()
    player.play(activity(0, tenant="zeta", **HOME))

    assert known(player.play(activity(60, **HOME))) == [(False, False, False, False)]


def test_the_values_seen_last_are_kept() -> None:
    player = principal()
    player.each(
        *(activity(at, asn=at) for at in range(1, MAX_KNOWN + 1)),
        activity(100, asn=1),
        activity(101, asn=999),
    )

    asked = [known(player.play(activity(200, kind="client_changed", asn=asn)))[0][1] for asn in (1, 3, 999, 2)]

    assert asked == [True, True, True, False]


def test_an_operation_that_the_model_does_not_know_is_a_signal_until_others_use_it() -> None:
    player = principal()
    used = {"kind": "used", "used": ["operation:GET /vault", "unheard:GET /vault"]}
    player.play(activity(0, **HOME))
    first = player.play(activity(60, **used, **HOME))
    for at in range(3):
        player.each(
            *(activity(90 + at, session_id=f"c-{at}", principal_id=f"c-{at}", **fields) for fields in ({}, used))
        )

    assert notified(first, "signals") == [(["unfamiliar_use", "unheard_use"],)]
    assert notified(player.play(activity(120, **used, **HOME)), "signals") == []
    assert notified(player.play(activity(130, kind="summary")), "signals") == [([],)]
