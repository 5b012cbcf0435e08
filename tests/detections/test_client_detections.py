"""Detections on the client's software and location and on a workload's home network, by whole histories.

Also what honest people and machines do that looks like a stolen session: none of it may end one.
"""

from __future__ import annotations

from typing import Any

import pytest

from schemas.topics import SESSION_REVOCATIONS
from tests.support.histories import (
    BERLIN,
    CAFE,
    CHROME,
    HOME,
    KEY,
    MOBILE,
    MUNICH,
    PHONE_APP,
    Row,
    earlier,
    moved,
    thrice,
)
from tests.support.run_processors import Event, found, of, replayed
from tests.support.samples import UNASKED, auth, call, feedback

SAO_PAULO = {"latitude": -23.55, "longitude": -46.63}


def by(*agents: str, **members: Any) -> list[Event]:
    """A session that is signed in to with the first client and used by the others."""
    first, *others = agents
    start = auth(0, user_agent=first, **members)
    return [start, *(call(60 * at, user_agent=name, **members) for at, name in enumerate(others, 1))]


def instance(at: float = 0, number: int = 1, **members: Any) -> Event:
    """A machine gets a credential for its role."""
    usual = {"principal_id": "role/web", "principal_kind": "service", "action": "token_issued"}
    return auth(at, session_id=f"s-{number}", **{**usual, "workload": "instance", **HOME, **members})


def works(at: float, **members: Any) -> Event:
    """The machine's credential is used."""
    return call(at, **{"principal_id": "role/web", "principal_kind": "service", **HOME, **members})


def somewhere(number: int) -> dict[str, Any]:
    """A network of its own for each number."""
    return {"asn": 64900 + number, "ip": f"203.0.{number}.1"}


ROWS = [
    Row(
        "non_browser_client",
        by(CHROME, "python-requests/2.32.3"),
        by(CHROME, CHROME.replace("145", "146")),
        (
            # An app on a handset has its user sign in with the handset's browser.
            by(MOBILE, "okhttp/4.12.0"),
            by(MOBILE, PHONE_APP),
            # A session that began with a tool goes on with one.
            by("python-requests/2.32.3", "python-requests/2.32.3", CHROME, "curl/8.5.0"),
            by("okhttp/4.12.0", "curl/8.5.0"),
            by(CHROME, "Go-http-client/2.0", principal_kind="service", principal_id="export"),
        ),
    ),
    Row("non_browser_client", by(CHROME, "okhttp/4.12.0"), by(CHROME, "Slack/4.41 (Windows)")),
    Row(
        "non_browser_client",
        by(MOBILE, "Mozilla/5.0 (X11) HeadlessChrome/139.0"),
        by(MOBILE, ""),
    ),
    Row(
        "session_moved",
        [auth(0, **HOME), call(60, **HOME), call(120, **{**CAFE, "user_agent": CHROME, "token_id": None})],
        [auth(0, **HOME), call(60, **HOME), call(120, **CAFE)],
        (
            # The VPN drops while the browser is exchanged.
            [auth(0, **HOME), call(60, **CAFE), call(120, **{**HOME, "user_agent": CHROME})],
            [auth(0, **{**HOME, "user_agent": MOBILE}), call(60, **{**CAFE, "user_agent": PHONE_APP})],
            # Its proof key says that it is the same device.
            [auth(0, key_id="k", **HOME), call(60, key_id="k", **{**CAFE, "user_agent": CHROME})],
            [auth(0, **HOME, **KEY), call(60, **{**CAFE, "user_agent": CHROME}, **KEY)],
        ),
    ),
    Row(
        "machine_on_handset",
        by("python-requests/2.32", PHONE_APP, **KEY),
        by("python-requests/2.32", "Go-http-client/2.0", **KEY),
        (
            by("okhttp/4.12.0", "okhttp/4.12.0", **KEY),
            by(MOBILE, PHONE_APP),
        ),
    ),
    Row(
        "machine_on_handset",
        [call(0, **KEY), call(9, network_type="cellular", **KEY)],
        [call(0, **KEY), call(9, network_type="ethernet", **KEY)],
        ([call(0), call(9, network_type="cellular")],),
    ),
    Row(
        "workload_credential_off_home",
        [instance(), works(60), works(120, **CAFE)],
        [instance(), works(60), works(120, ip="192.0.2.200")],
        (
            # Through a private link the credential is used from the machine's own address.
            [instance(), works(60), works(120, ip="10.0.7.7", asn=None)],
            # The egress has changed, and the issuer reports it.
            [instance(), instance(60, home_asn=CAFE["asn"]), works(120, **CAFE)],
            # Issued without a home network: the first one it is used from becomes its home.
            [instance(ip=None, asn=None), works(60), works(120)],
            [instance(workload=None), works(60), works(120, **CAFE)],
        ),
    ),
    Row(
        "workload_credential_off_home",
        [instance(ip=None, asn=None), works(60), works(120, **CAFE)],
        [instance(ip=None, asn=None), works(60, **CAFE), works(120, **CAFE)],
    ),
    Row(
        "workload_credential_off_home",
        [instance(home_asn=64601), works(60, **CAFE)],
        [instance(home_asn=64601), works(60)],
        ([instance(home_prefix="192.0.2"), works(60, asn=None)],),
    ),
    Row(
        "workload_credential_off_home",
        [*(instance(at - 9e3, at) for at in (2, 3, 4)), instance(0, **CAFE)],
        [*(instance(at - 9e3, at) for at in (2, 3)), instance(0, **CAFE)],
        (
            [*(instance(at - 9e3, at, **(CAFE if at == 3 else {})) for at in (2, 3, 4)), instance(0, **CAFE)],
            # The first sessions started in any network, so the next may start in another one.
            [*(instance(at - 9e3, at, **somewhere(at)) for at in (2, 3, 4)), instance(0, **CAFE)],
            # Hosted runners of continuous integration: another address for each job.
            [
                *(instance(at - 9e3, at, workload="ci") for at in (2, 3, 4)),
                instance(0, workload="ci", **CAFE),
            ],
            # Without a network number, the address may be another one of the same network.
            [*(instance(at - 9e3, at) for at in (2, 3, 4)), instance(0, **{**CAFE, "asn": None})],
        ),
    ),
    Row(
        "workload_credential_off_home",
        [instance(workload="ci", home_asn=64601), works(60, **CAFE)],
        [instance(workload="ci"), works(60, **CAFE)],
    ),
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


# --- what is not a journey, and not a theft ---------------------------------------------------------------

WIFI, CELLULAR = {**HOME, "network_type": "wifi"}, {**CAFE, "network_type": "cellular"}
HONEST: dict[str, list[Event]] = {
    "a VPN is switched on and off": [
        *thrice(HOME, CAFE),
        auth(0, **HOME, **BERLIN),
        call(60, **CAFE, network_type="vpn", **SAO_PAULO),
        call(120, **HOME, **BERLIN),
    ],
    "another session of the person comes out of its usual VPN, which nobody labelled": [
        *thrice(HOME, CAFE),
        auth(0, session_id="laptop", **CAFE, **SAO_PAULO),
        auth(60, **HOME, **BERLIN),
    ],
    "a phone leaves the house: its carrier's gateway is far away": [
        *thrice(HOME, CAFE),
        auth(0, **WIFI, **BERLIN),
        call(60, **CELLULAR, **MUNICH),
        call(120, **WIFI, **BERLIN),
    ],
    "the carrier's gateway is far from the person's other session": [
        *thrice(HOME, CAFE),
        auth(0, session_id="laptop", **WIFI, **BERLIN),
        auth(60, **{**CELLULAR, "asn": 64999, "ip": "203.0.113.4"}, **MUNICH),
    ],
    "the geo database is corrected": [auth(0, **HOME, **SAO_PAULO), call(60, **HOME, **BERLIN)],
    "the geo database is corrected between two sessions": [
        auth(0, session_id="laptop", **HOME, **SAO_PAULO),
        auth(60, **HOME, **BERLIN),
    ],
    "a browser updates itself while the laptop roams": [
        *thrice(HOME, CAFE),
        auth(0, **{**WIFI, "user_agent": CHROME}),
        call(60, **{**CELLULAR, "user_agent": CHROME.replace("145", "146"), "ja4": "t13d_b"}),
    ],
    "a script uses its owner's cookie from the same place": [
        auth(0, **{**HOME, "user_agent": CHROME}),
        call(60, **{**HOME, "user_agent": "python-requests/2.32", "ja4": "t13d_b"}),
    ],
}


@pytest.mark.parametrize("events", HONEST.values(), ids=HONEST)
def test_no_session_ends_because(events: list[Event]) -> None:
    outputs = replayed(events)

    assert found(outputs, "s-1") & {"impossible_travel", "token_replayed"} == set()
    assert of(outputs, SESSION_REVOCATIONS) == []


FAR = {**CAFE, **SAO_PAULO}
TRAVELS: list[list[Event]] = [
    [auth(0, **HOME, **BERLIN), call(600, **FAR)],
    [auth(0, **HOME, **BERLIN), call(600, **FAR, network_type="cellular")],
    [auth(0, session_id="laptop", **HOME, **BERLIN), auth(600, **FAR)],
    [
        auth(0, **WIFI, **BERLIN),
        call(60, **CELLULAR, **MUNICH),
        call(600, asn=7, ip="203.0.113.4", **SAO_PAULO),
    ],
]


@pytest.mark.parametrize("events", TRAVELS)
def test_a_journey_is_still_one_when_it_is_from_another_network(events: list[Event]) -> None:
    assert "impossible_travel" in found(replayed(events), "s-1")


# --- what a machine may learn -----------------------------------------------------------------------------


def test_a_key_that_an_analyst_confirms_has_a_second_region_from_then_on() -> None:
    ended = [*thrice(HOME, **KEY), *moved(HOME, CAFE, **KEY)]
    word = feedback(2000, verdict="false_positive")
    again = [auth(3000, session_id="s-2", **CAFE, **KEY), call(3001, session_id="s-2", **CAFE, **KEY)]

    assert "api_key_off_place" in found(replayed([*ended, *again], UNASKED), "s-2")
    assert "api_key_off_place" not in found(replayed([*ended, word, *again], UNASKED), "s-2")


APP, WEB_VIEW = (
    "Notes/6.2 CFNetwork/3826.600.41 Darwin/24.6.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6) Mobile/15E148",
)


@pytest.mark.parametrize(
    ("kind", "first", "second", "is_replayed"),
    [
        ("human", WEB_VIEW, "curl/8", True),
        ("human", CHROME, APP, True),
        ("human", CHROME, WEB_VIEW, True),
        ("human", WEB_VIEW, APP, False),
        ("human", APP, WEB_VIEW, False),
        ("human", CHROME, "python-httpx/0.28", False),
        ("api_key", "App/1", "curl/8", False),
        ("service", "python-httpx/0.28", "curl/8", True),
    ],
)
def test_a_token_that_has_two_clients_by_design_is_not_replayed(
    kind: str, first: str, second: str, *, is_replayed: bool
) -> None:
    """An app opens its web view, a server calls for a person, and a key is in every installation of an application."""
    who = {"principal_id": "p-1", "principal_kind": kind, "token_id": "t-1"}
    home, elsewhere = HOME | who | {"user_agent": first}, CAFE | who | {"user_agent": second}

    events = [auth(0, **home), call(60, **home), call(600, **elsewhere), call(660, **elsewhere)]

    assert ("token_replayed" in found(replayed(events))) is is_replayed


@pytest.mark.parametrize(("third", "is_replayed"), [(HOME, False), (CAFE | {"asn": 64999, "ip": "203.0.113.9"}, True)])
def test_a_token_that_goes_back_to_the_network_before_is_not_replayed(
    third: dict[str, Any], *, is_replayed: bool
) -> None:
    """A laptop whose VPN drops, and whose browser is exchanged at the same time."""
    events = [auth(0, **HOME), call(60, **CAFE), call(120, **{**third, "user_agent": CHROME})]

    assert ("token_replayed" in found(replayed(events))) is is_replayed


SERVERS = [
    CAFE | {"asn": 64900 + number, "ip": f"203.0.113.{number}", "user_agent": "Java/21.0.8"} for number in (1, 2)
]


@pytest.mark.parametrize(
    ("after", "is_replayed"),
    [
        (HOME, False),
        (CAFE, False),  # the person went elsewhere in the meantime
        (HOME | {"user_agent": CHROME}, False),  # the browser was updated
        (CAFE | {"user_agent": CHROME}, True),
    ],
)
def test_a_person_for_whom_servers_call_meanwhile_has_not_moved(after: dict[str, Any], *, is_replayed: bool) -> None:
    """The servers have two exits, so that the network of the person is not the one before the last."""
    events = [auth(0, **HOME), call(60, **HOME), *(call(61 + number, **way) for number, way in enumerate(SERVERS))]

    assert ("token_replayed" in found(replayed([*events, call(70, **after)]))) is is_replayed


def test_a_key_learns_its_regions_in_its_first_sessions() -> None:
    two = [event for at in range(2) for event in earlier(HOME, **KEY, session_id=f"before-{at}")]

    third = [auth(0, **CAFE, **KEY), auth(60, action="sign_out", **CAFE, **KEY)]
    fourth = auth(120, session_id="s-2", **CAFE, **KEY)

    assert found(replayed([*two, *third, fourth])) == set()


@pytest.mark.parametrize(
    ("first", "second", "replayed_by"),
    [
        ("t13d1516h2_a", "q13d0312h3_a", set()),
        ("q13d0312h3_a", "t13d1516h2_a", set()),
        ("t13d1516h2_a", "t13d1516h2_b", {"token_replayed"}),
    ],
    ids=["to HTTP/3", "to HTTP/2", "another handshake over TCP"],
)
def test_a_browser_that_changes_between_http_2_and_3_is_no_other_client(
    first: str, second: str, replayed_by: set[str]
) -> None:
    home, cafe = ({**place, "user_agent": CHROME, "token_id": "t-1"} for place in (HOME, CAFE))
    events = [
        auth(0, **home | {"ja4": first}),
        call(60, **home | {"ja4": first}),
        call(120, **cafe | {"ja4": second}),
    ]

    assert found(replayed(events)) & {"token_replayed"} == replayed_by
