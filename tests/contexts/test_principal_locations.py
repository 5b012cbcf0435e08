"""Locations of a principal's sessions: behind an anonymiser, and how fast from one to the next."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.histories import BERLIN, MUNICH
from tests.support.principals import HOME, VPN, notified, principal
from tests.support.samples import activity

TOR = {"asn": 64999, "ip": "203.0.113.99", "network_type": "tor"}


def test_an_anonymiser_is_new_for_the_session_that_began_it_and_known_afterwards() -> None:
    player = principal()
    player.play(activity(0, **HOME))
    steps = [
        activity(60, session_id="s-2", **VPN),
        activity(61, session_id="s-2", kind="client_changed", **HOME),
        activity(62, session_id="s-2", kind="client_changed", **VPN),
        activity(63, session_id="s-3", **VPN),
        activity(64, session_id="s-4", **TOR),
        activity(65, session_id="s-5", principal_kind="service", **TOR),
    ]

    details = [item for item in notified(player.each(*steps), "signals") if item != (None,)]

    assert details == [
        (["new_anonymiser"],),
        ([],),
        (["new_anonymiser"],),
        ([],),
        (["new_tor"],),
        ([],),
    ]


def test_the_anonymiser_of_a_revoked_session_is_not_known() -> None:
    player = principal()
    player.each(activity(0, **HOME), activity(60, session_id="thief", **VPN))
    player.play(activity(70, session_id="thief", kind="revoked"))

    assert notified(player.play(activity(80, session_id="s-2", **VPN)), "signals") == [(["new_anonymiser"],)]


SPEEDS = [
    ({}, 600, pytest.approx(3026, rel=0.01)),
    ({}, 3600, pytest.approx(504.4, rel=0.01)),
    ({}, -600, pytest.approx(3026, rel=0.01)),
    ({"latitude": 52.4, "longitude": 13.1}, 60, 0.0),
    ({"latitude": None}, 600, None),
    ({"network_type": None}, 600, 0.0),
    ({"country": "AT"}, 600, pytest.approx(3026, rel=0.01)),
    ({"country": "DE"}, 600, 0.0),
    ({"network_type": "vpn"}, 600, None),
    ({"session_id": "s-1"}, 600, None),
    ({"principal_id": "bob"}, 600, None),
]


@pytest.mark.parametrize(("members", "at", "kmh"), SPEEDS)
def test_the_speed_is_that_from_the_last_location_of_another_session(
    members: dict[str, Any], at: float, kmh: Any
) -> None:
    player = principal()
    player.play(activity(0, **BERLIN, network_type="wifi", country="DE"))

    sent = player.play(activity(at, **{"session_id": "s-2", "network_type": "wifi", **MUNICH, **members}))

    assert notified(sent, "place_speed_kmh") == [(kmh,)]


def test_the_location_of_a_revoked_session_is_forgotten() -> None:
    player = principal()
    player.each(activity(0, session_id="thief", **BERLIN), activity(1, session_id="thief", kind="revoked"))

    assert notified(player.play(activity(60, **MUNICH)), "place_speed_kmh") == [(None,)]
