"""Network context: who failed and who succeeded from a network, and which sessions are notified."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events.networks import is_inside, network_of
from pipeline.contexts.network import KEEP_MS, MAX_FAILED, MAX_USERS, WINDOW_MS, network_context
from schemas import topics
from tests.support.run_processors import NOW, Event, Player, SentMessage, by_key, chunks, of, read
from tests.support.samples import T0, attempt, auth

HIDDEN: dict[str, Any] = {"network": "as64951", "network_type": "hosting"}
DAY_S = 86_400


def network() -> Player:
    return Player(network_context())


def fails(count: int, start: float = 0, **members: Any) -> list[Event]:
    """So many principals fail, one a second."""
    usual = {"action": "sign_in_failed", **members}
    return [attempt(start + at, principal_id=f"u-{at}", session_id=f"page-{at}", **usual) for at in range(count)]


def comes(name: str, at: float = 0, **members: Any) -> Event:
    """A principal signs in."""
    return attempt(at, principal_id=name, session_id=f"s-{name}", **members)


def notified(sent: list[SentMessage]) -> list[tuple[str, tuple[str, ...], int]]:
    """The messages to sessions: session, signals, number of others."""
    return [
        (event["session_id"], tuple(event["signals"]), event["network_principals"])
        for event in of(sent, topics.SESSION_CONTEXT)
    ]


def test_a_session_is_notified_of_what_happened_around_its_sign_in() -> None:
    player = network()
    player.each(*fails(5))

    (message,) = player.play(comes("ana", 60, event_id="e-1~n"))

    assert message == SentMessage(
        topics.SESSION_CONTEXT,
        "s-ana",
        {
            "type": "session.context",
            "event_id": "e-1~n~w",
            "occurred_at": T0 + 60_000,
            "tenant": "default",
            "session_id": "s-ana",
            "source": "network",
            "signals": ["sprayed_network"],
            "network_principals": 5,
        },
    )


# --- password spray ---------------------------------------------------------------------------------------

SPRAYS: list[tuple[list[Event], list[Any]]] = [
    ([*fails(5), comes("ana", 10)], [("s-ana", ("sprayed_network",), 5)]),
    ([comes("ana"), *fails(5, 10)], [("s-ana", ("sprayed_network",), 5)]),
    ([*fails(4), comes("ana", 10)], []),
    ([*fails(1), *fails(1, 5), *fails(1, 6), *fails(1, 7), *fails(1, 8), comes("ana", 10)], []),
    ([*fails(5), comes("ana", 5 + WINDOW_MS / 1000)], []),
    ([*fails(5, action="mfa_denied"), comes("ana", 10)], [("s-ana", ("sprayed_network",), 5)]),
    ([*fails(5, action="mfa_failed"), comes("ana", 10)], [("s-ana", ("sprayed_network",), 5)]),
    ([*(comes(f"ok-{at}") for at in range(3)), *fails(5, 10)], []),
    ([*fails(5), comes("ana", 10, network="198.51.100")], []),
    ([*fails(5, tenant="acme"), comes("ana", 10)], []),
]


@pytest.mark.parametrize(("events", "expected"), SPRAYS)
def test_a_spray_is_many_who_fail_beside_few_who_are_let_in(events: list[Event], expected: list[Any]) -> None:
    assert notified(network().each(*events)) == expected


def test_an_office_that_mistypes_and_then_gets_in_is_no_spray() -> None:
    player = network()
    office = [f"u-{at}" for at in range(8)]

    sent = player.each(
        *(comes(name, at, action=action) for at, name in enumerate(office) for action in ("sign_in_failed", "sign_in"))
    )

    assert notified(sent) == []


def test_a_regular_user_of_the_network_is_no_victim_of_a_spray() -> None:
    player = network()
    player.each(comes("ana"), comes("ana", DAY_S))

    assert notified(player.each(*fails(9, DAY_S + 10), comes("ana", DAY_S + 60))) == []
    assert notified(player.play(comes("bob", DAY_S + 61))) == [("s-bob", ("sprayed_network",), 9)]


def test_a_session_is_notified_of_a_spray_once_and_so_is_the_next() -> None:
    player = network()
    player.each(*fails(6), comes("ana", 10))

    assert notified(player.each(*fails(9, 20), comes("ana", 40, action="mfa_passed"))) == []
    assert notified(player.play(attempt(50, principal_id="ana", session_id="s-2"))) == [
        ("s-2", ("sprayed_network",), 9)
    ]


# --- adversary in the middle ------------------------------------------------------------------------------


def test_newcomers_who_share_a_hiding_network_are_all_notified() -> None:
    sent = network().each(*(comes(name, at, **HIDDEN) for at, name in enumerate(("ana", "bob", "cy", "di"))))

    assert notified(sent) == [
        (f"s-{name}", ("network_of_newcomers",), count)
        for name, count in (("ana", 3), ("bob", 3), ("cy", 3), ("di", 4))
    ]


TOGETHER: list[list[Event]] = [
    [comes("ana", **HIDDEN), comes("bob", **HIDDEN)],
    [comes(name, network_type="wifi") for name in "abcd"],
    [comes(name, principal_kind="service", **HIDDEN) for name in "abcd"],
    [comes(name, action="sign_in_failed", **HIDDEN) for name in "abcd"],
    [comes(name, at * 3600, **HIDDEN) for at, name in enumerate("abcd")],
    [comes(name, ja4=f"t13d_{name}", **HIDDEN) for name in "abcd"],
]


@pytest.mark.parametrize("events", TOGETHER)
def test_people_who_have_less_in_common_are_not_notified(events: list[Event]) -> None:
    assert notified(network().each(*events)) == []


def test_a_vpn_that_is_used_from_day_to_day_may_have_new_users() -> None:
    player = network()
    users = ("ana", "bob")
    player.each(*(comes(name, day * DAY_S, **HIDDEN) for day in (0, 1) for name in users))

    assert notified(player.each(*(comes(name, 2 * DAY_S, **HIDDEN) for name in "cde"))) == []


def test_one_customer_of_a_data_centre_does_not_make_the_others_trusted() -> None:
    player = network()
    player.each(comes("ana", **HIDDEN), comes("ana", 2 * DAY_S, **HIDDEN))

    assert len(notified(player.each(*(comes(name, 2 * DAY_S, **HIDDEN) for name in "cde")))) == 3


# --- memory -----------------------------------------------------------------------------------------------


def test_a_worker_that_takes_over_knows_the_same() -> None:
    player, other = network(), network()
    player.each(*fails(4), comes("ana", 5, **HIDDEN), comes("bob", 6, **HIDDEN), comes("cy", 6))
    other.stage.restore(player.rows.items())
    other.stage.on_restored()

    nexts = [*fails(9, 10), comes("di", 20, **HIDDEN), comes("eve", 21)]
    sent = player.each(*nexts)
    assert other.each(*nexts) == sent
    assert notified(sent)
    assert other.rows == player.rows


def test_a_network_nobody_comes_from_is_forgotten_after_a_month() -> None:
    player, now = network(), NOW + 2 * KEEP_MS
    player.play(comes("ana"), now=now)

    player.play(comes("bob", KEEP_MS / 1000 + 120, network="198.51.100"), now=now)

    assert sorted(player.rows) == [b"default\xff198.51.100"]


def test_of_too_many_networks_the_least_recently_used_is_evicted() -> None:
    player = Player(network_context(max_records=2))
    player.each(comes("a", network="n-1"), comes("b", network="n-2"), comes("a", 1, network="n-1"))

    player.play(comes("c", 2, network="n-3"))

    assert sorted(player.rows) == [b"default\xffn-1", b"default\xffn-3"]
    assert player.counts["evicted_records",] == 1


def test_a_network_evicted_and_seen_again_in_one_chunk_keeps_its_row() -> None:
    player = Player(network_context(max_records=1))
    player.play(comes("a", network="n-1"), comes("b", network="n-2"), comes("a", 1, network="n-1"))

    assert sorted(player.rows) == [b"default\xffn-1"]


def test_a_network_fits_into_a_record_whoever_comes_from_it() -> None:
    player, wide = network(), "\U0001f600"
    for action in ("sign_in_failed", "sign_in"):
        player.play(
            *(
                attempt(
                    principal_id=f"{at:06d}{action[:4]}" + wide * 118,
                    session_id=f"{at:06d}" + wide * 122,
                    ja4=wide * 64,
                    action=action,
                )
                for at in range(MAX_USERS + MAX_FAILED)
            )
        )

    assert max(map(len, player.rows.values())) < 950_000


ATTEMPTS = st.builds(
    lambda at, subject, action, members: comes(subject, at, action=action, **members),
    st.sampled_from([0, 60, 600, 3601, DAY_S, KEEP_MS / 1000 + 60]),
    st.sampled_from([f"u-{at}" for at in range(9)]),
    st.sampled_from(["sign_in", "sign_in_failed", "sign_in_failed", "mfa_passed", "mfa_denied"]),
    st.sampled_from([{}, HIDDEN, {**HIDDEN, "ja4": "t13d_a"}, {"network": "198.51.100"}]),
)


@given(st.lists(ATTEMPTS, min_size=1, max_size=40), st.sets(st.integers(1, 40)))
@settings(max_examples=80)
def test_where_the_stream_is_cut_changes_no_message(events: list[Event], cuts: set[int]) -> None:
    player, other = Player(network_context(max_records=2)), Player(network_context(max_records=2))
    player.each(*events, now=NOW + 3 * KEEP_MS)
    for chunk in chunks(events, cuts):
        other.play(*chunk, now=NOW + 3 * KEEP_MS)

    assert by_key(read(other.messages)) == by_key(read(player.messages))


# --- which network ----------------------------------------------------------------------------------------

NETWORKS = [
    ({"ip": "192.0.2.7", "asn": 64601, "network_type": "wifi"}, "192.0.2"),
    ({"ip": "192.0.2.7", "asn": 64601}, "192.0.2"),
    ({"ip": "2001:db8:a:b::1", "asn": 64601}, "2001:db8:a"),
    ({"ip": "192.0.2.7", "asn": 64951, "network_type": "hosting"}, "as64951"),
    ({"ip": "192.0.2.7", "network_type": "tor"}, "192.0.2"),
    ({"asn": 64601, "network_type": "wifi"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("members", "name"), NETWORKS)
def test_the_network_is_the_prefix_and_the_number_only_for_hiding_networks(
    members: dict[str, Any], name: str | None
) -> None:
    assert network_of(auth(**members)) == name


def test_a_private_address_is_one_that_the_internet_does_not_route() -> None:
    inside = [
        "10.1.2.3",
        "172.31.0.1",
        "192.168.7.7",
        "100.64.0.1",
        "169.254.1.1",
        "127.0.0.1",
        "fd00::1",
        "::ffff:10.1.2.3",
    ]
    outside = ["192.0.2.1", "172.32.0.1", "2001:db8::1", "not an address", None]

    assert [is_inside(this_name) for this_name in inside + outside] == [True] * 8 + [False] * 5
