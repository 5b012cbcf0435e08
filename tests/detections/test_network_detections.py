"""Detections on the session's network, by histories through all processors."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK
from tests.support.histories import CAFE, CLEAN, HOME, ON, Row, earlier, moved, ms, thrice
from tests.support.run_processors import Event, found, of, replayed
from tests.support.samples import auth, call, telemetry

VPS: dict[str, Any] = {**HOME, "asn": 64951, "ip": "2001:db8:6::1", "network_type": "hosting"}
VPN = {**VPS, "asn": 64880, "ip": "203.0.113.77", "network_type": "vpn"}
TOR = {**VPS, "asn": 64999, "ip": "203.0.113.200", "network_type": "tor"}
CURL = {"user_agent": "curl/8", "ja4": "t13d_b"}


def tries(count: int, start: float = -300, distinct: int = 99, **where: Any) -> list[Event]:
    """Failed sign-ins of *distinct* principals from one network."""
    names = [f"u-{at % distinct}" for at in range(count)]
    return [
        auth(start + at, action="sign_in_failed", principal_id=name, session_id=f"page-{name}", **where)
        for at, name in enumerate(names)
    ]


def arrive(names: str, start: float = -60, **where: Any) -> list[Event]:
    """People, each with a history at home, sign in from one network, ten seconds after one another."""
    known = [event for name in names for event in earlier(HOME, principal_id=name, session_id=f"{name}-0")]
    return [
        *known,
        *(auth(start + 10 * at, principal_id=name, session_id=f"s-{name}", **where) for at, name in enumerate(names)),
    ]


def from_day_to_day(names: str, **where: Any) -> list[Event]:
    """People who have used a network before."""
    days = (-3 * 86_400, -86_400)
    return [auth(day, principal_id=name, session_id=f"{name}{day}", **where) for day in days for name in names]


def used(*, by: dict[str, Any], until: float = 30) -> list[Event]:
    """The session s-1 is used."""
    return [call(at, **by) for at in range(5, int(until), 5)]


ROWS = [
    Row(
        "password_spray",
        [*tries(12, **VPS), auth(0, **VPS)],
        [*tries(12, **VPS), auth(0, **HOME)],
        (
            # An office behind one address: most mistype their password, then succeed.
            [*tries(12, **HOME), *arrive("abcdefgh", **HOME), auth(0, **HOME)],
            # A service with an expired password retries continuously.
            [*tries(60, distinct=1, **HOME), auth(0, **HOME)],
            # A residential provider: others fail from another of its prefixes.
            [*tries(12, **{**HOME, "ip": "192.0.99.1"}), auth(0, **HOME)],
            [*tries(12, start=-7200, **VPS), auth(0, **VPS)],
        ),
    ),
    Row("password_spray", [auth(0, **VPS), *tries(12, start=10, **VPS)], [auth(0, **VPS)]),
    Row(
        "aitm_sign_in",
        [*earlier(HOME), *arrive("bcd", **VPS), auth(0, **VPS)],
        [*earlier(HOME), *arrive("b", **VPS), auth(0, **VPS)],
        (
            # A company's VPN, used from day to day.
            [*earlier(HOME), *from_day_to_day("xyz", **VPN), *arrive("bcd", **VPN), auth(0, **VPN)],
            # A phishing exercise signs nobody in: its page only records that the password was typed.
            [*earlier(HOME), *tries(9, **VPS), auth(0, **HOME)],
            [*earlier(HOME), *arrive("bcd", **CAFE), auth(0, **CAFE)],
            [*earlier(VPS), *arrive("bcd", **VPS), auth(0, **VPS)],
            # The first morning of a company's VPN: on the usual laptop, or on an attested one.
            [*earlier(HOME, **ON), *arrive("bcd", **VPN), auth(0, **VPN, **ON)],
            [
                *earlier(HOME),
                *arrive("bcd", **VPN),
                telemetry(-9, **CLEAN, attested_at=ms(-9)),
                auth(0, **VPN, **ON),
                call(9, **VPN, **ON),
            ],
            # The same, but the device's telemetry arrives last.
            [
                *earlier(HOME),
                *arrive("bcd", **VPN),
                auth(0, **VPN, **ON),
                telemetry(8, **CLEAN, attested_at=ms(8)),
                call(30, **VPN, **ON),
            ],
            # Signed in through the usual gateway, together with others new to it; hours later without it.
            [*earlier(VPS), *arrive("bcd", **VPS), auth(0, **VPS), call(7200, **CAFE), call(7260, **CAFE)],
        ),
    ),
    *(
        Row(  # a device that is not the person's, and is not attested or failed to be
            "aitm_sign_in",
            [*earlier(HOME), *arrive("bcd", **VPS), *device, auth(0, **VPS, **ON), call(30, **VPS, **ON)],
            [*earlier(HOME), *arrive("bcd", **VPS), *device, auth(0, **HOME, **ON), call(30, **HOME, **ON)],
        )
        for device in (
            [],
            [telemetry(-9, **{**CLEAN, "attestation": "basic"}, attested_at=ms(-9))],
            [telemetry(-9, **CLEAN, attested_at=ms(-7200))],
        )
    ),
    Row(
        "aitm_session_taken",
        [*earlier(HOME), *arrive("bcd", **VPS), auth(0, **VPS), *used(by={**VPS, **CURL})],
        [*earlier(HOME), *arrive("bcd", **VPS), auth(0, **VPS), *used(by=VPS)],
        (
            [*earlier(HOME), *arrive("b", **VPS), auth(0, **VPS), *used(by={**VPS, **CURL})],
            [
                *earlier(HOME),
                *arrive("bcd", **VPS),
                auth(0, **VPS),
                *used(by={**VPS, "user_agent": "Firefox/141", "ja4": "t13d_c"}),
            ],
        ),
    ),
    Row(
        "anonymised_network",
        [*thrice(HOME), auth(0, **VPN)],
        [*thrice(HOME), auth(0, **CAFE)],
        (
            # A privacy relay or a gateway that the person used before, by whichever name it goes.
            [*thrice(HOME, VPN), auth(0, **VPN)],
            [*thrice(HOME, VPN), auth(0, **VPS)],
            # A network at home that a geo database calls a data centre from today.
            [*thrice(HOME), auth(0, **{**HOME, "network_type": "hosting"})],
            [*earlier(HOME), auth(0, **VPN)],
            [auth(0, **VPN)],
            [*thrice(HOME, principal_kind="service"), auth(0, **VPN, principal_kind="service")],
        ),
    ),
    Row(
        "tor_network",
        [*earlier(HOME), auth(0, **TOR)],
        [*earlier(HOME), auth(0, **VPN)],
        ([*earlier(HOME, TOR), auth(0, **TOR)], [auth(0, **TOR)]),
    ),
    Row("tor_network", [*earlier(HOME), *moved(HOME, TOR)], [*earlier(HOME), *moved(HOME, CAFE)]),
]
IDS = [f"{row.rule}-{at}" for at, row in enumerate(ROWS)]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_detection_fires(row: Row) -> None:
    assert row.rule in found(replayed(row.fires), "s-1")


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_a_detection_stays_quiet(row: Row) -> None:
    assert row.rule not in found(replayed(row.quiet), "s-1")


@pytest.mark.parametrize("row", [row for row in ROWS if row.honest], ids=[r.rule for r in ROWS if r.honest])
def test_a_detection_spares_the_honest(row: Row) -> None:
    assert [row.rule in found(replayed(events), "s-1") for events in row.honest] == [False] * len(row.honest)


# --- what becomes of it -----------------------------------------------------------------------------------


def commands(events: list[Event], session_id: str = "s-1") -> tuple[int, int]:
    """How many challenges and how many revocations the session got."""
    outputs = replayed(events)
    topics = (SESSION_CHALLENGES, SESSION_REVOCATIONS)
    asked, ended = (len(of(outputs, topic, session_id)) for topic in topics)
    return asked, ended


def test_every_session_opened_by_the_spray_is_asked_for_a_factor_and_no_other() -> None:
    events = [*tries(20, **VPS), auth(0, **VPS), auth(1, session_id="s-2", principal_id="bob", **VPS)]
    events += [auth(2, session_id="s-3", principal_id="cy", **HOME)]

    outputs = replayed(events)

    assert [event["session_id"] for event in of(outputs, SESSION_CHALLENGES)] == ["s-1", "s-2"]
    assert of(outputs, SESSION_REVOCATIONS) == []


def test_the_reason_shows_how_many_others_there_were() -> None:
    outputs = replayed([*tries(12, **VPS), auth(0, **VPS)])

    reasons = of(outputs, SESSION_RISK, "s-1")[-1]["reasons"]
    assert [(reason["detection"], reason["observed"]) for reason in reasons] == [
        ("password_spray", "12 other principals")
    ]


def test_a_phished_session_is_at_risk_and_more_so_when_another_client_uses_it() -> None:
    phished = [*earlier(HOME), *arrive("bcd", **VPS), auth(0, **VPS)]

    by_the_same, by_another = [*phished, *used(by=VPS)], [*phished, *used(by={**VPS, **CURL})]

    assert [commands(events) for events in (by_the_same, by_another)] == [(1, 0), (1, 0)]
    levels = [of(replayed(events), SESSION_RISK, "s-1")[-1]["level"] for events in (by_the_same, by_another)]
    assert levels == ["MEDIUM", "HIGH"]


@pytest.mark.parametrize("place", [VPN, VPS])
def test_a_person_who_starts_to_use_a_vpn_gets_a_step_up_at_most(place: dict[str, Any]) -> None:
    history = thrice(HOME)

    assert commands([*history, auth(0, **place), call(60, **place)]) == (1, 0)
    assert commands([*history, *moved(HOME, place)]) == (1, 0)
    assert commands([*history, auth(0, **place), auth(60, **place, action="step_up_passed")]) == (1, 0)


def test_a_vpn_that_is_left_again_does_not_count() -> None:
    toggled = [*thrice(HOME), auth(0, **VPN), call(60, **HOME), call(70, **HOME)]

    last = of(replayed(toggled), SESSION_RISK, "s-1")[-1]

    assert [reason["detection"] for reason in last["reasons"]] == []


def test_a_session_that_moves_into_tor_is_at_high_risk_and_asked_for_a_factor() -> None:
    events = [*thrice(HOME), *moved(HOME, TOR)]

    assert commands(events) == (1, 0)
    assert of(replayed(events), SESSION_RISK, "s-1")[-1]["level"] == "HIGH"
