"""Principal context: what is normal for somebody over all sessions, and how new a session is to that."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns import FACTOR_CHANGES
from pipeline.habits import HABITS, MOST_HABITS
from pipeline.lessons import MOST_DOUBTED
from pipeline.principal import KEEP_MS, MOST_SESSIONS, principal_context
from playing import NOW, Event, Player, Said, by_key, chunks, of, read
from samples import T0, activity
from schemas import topics

HOME = {"device_id": "phone-1", "ip": "192.0.2.1", "asn": 64500, "country": "DE", "user_agent": "Firefox/140"}
CAFE = {**HOME, "ip": "198.51.100.1", "asn": 64501}
BERLIN = {"latitude": 52.52, "longitude": 13.405}
MUNICH = {"latitude": 48.137, "longitude": 11.575}


def principal() -> Player:
    return Player(principal_context())


def known(said: list[Said]) -> list[tuple[Any, ...]]:
    """What was told of each habit: device, network, country, client."""
    return [tuple(one.get(f"known_{name}") for name in HABITS) for one in of(said, topics.SESSION_CONTEXT)]


def heard(said: list[Said], *members: str) -> list[tuple[Any, ...]]:
    return [tuple(one.get(name) for name in members) for one in of(said, topics.SESSION_CONTEXT)]


def test_to_a_stranger_everything_is_new() -> None:
    (said,) = principal().play(activity(0, event_id="e-1~a", **HOME))

    assert said == Said(
        topics.SESSION_CONTEXT,
        "s-1",
        {
            "type": "session.context", "event_id": "e-1~a~p", "occurred_at": T0, "tenant": "default",
            "session_id": "s-1", "source": "principal", "known_device": False, "known_asn": False,
            "known_country": False, "known_client": False, "novelty": 1.0, "concurrent_sessions": 0,
            "sessions_seen": 0, "signals": [], "days_known": 0, "usual": {}, "usual_concurrent": 0,
            "hour_share": 0.0, "strange_sessions": 0, "strange_networks": 0,
        },
    )  # fmt: skip


def test_the_next_session_is_measured_by_the_one_before() -> None:
    one = principal()
    one.play(activity(0, **HOME))

    said = one.play(activity(60, session_id="s-2", **CAFE))

    assert known(said) == [(True, False, True, True)]
    assert heard(said, "novelty", "sessions_seen", "concurrent_sessions") == [(0.25, 1, 1)]


def test_what_is_not_shown_is_neither_known_nor_new() -> None:
    one = principal()
    one.play(activity(0, **HOME))

    said = one.play(activity(60, session_id="s-2", asn=64500))
    nothing = one.play(activity(61, session_id="s-3"))

    assert known(said) == [(None, True, None, None)]
    assert heard(nothing, "novelty", "known_asn") == [(None, None)]


def test_a_network_is_known_by_its_number_or_by_its_prefix() -> None:
    one = principal()
    one.play(activity(0, asn=64500, ip="192.0.2.1"))

    asked: list[dict[str, Any]] = [
        {"asn": 64500},
        {"ip": "192.0.2.77"},
        {"asn": 64500, "ip": "203.0.113.1"},
        {"asn": 1},
        {"ip": "2001:db8::1"},
    ]
    said = [
        known(one.play(activity(1, session_id=f"s-{at}", **told)))[0][1] for at, told in enumerate(asked, 2)
    ]

    assert said == [True, True, True, False, False]


def test_an_update_of_the_client_is_the_same_client() -> None:
    one = principal()
    one.play(activity(0, user_agent="Firefox/140.0"))

    assert known(one.play(activity(1, kind="client_changed", user_agent="Firefox/141.0"))) == [
        (None, None, None, True)
    ]


def test_a_session_does_not_count_itself() -> None:
    one = principal()
    one.play(activity(0, **HOME))

    said = one.play(activity(60, kind="client_changed", **CAFE))

    assert heard(said, "sessions_seen", "concurrent_sessions", "known_asn") == [(0, 0, False)]


def test_an_ended_session_is_not_concurrent_any_more_but_was_seen() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(10, kind="ended"))

    assert heard(one.play(activity(60, session_id="s-2")), "sessions_seen", "concurrent_sessions") == [(1, 0)]


def test_what_a_revoked_session_taught_is_forgotten() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="thief", **CAFE))
    one.play(activity(70, session_id="thief", kind="revoked"))

    assert known(one.play(activity(80, session_id="s-2", **CAFE))) == [(True, False, True, True)]


def test_who_guesses_a_password_in_vain_teaches_nothing() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="guess", guess=True, **CAFE, **BERLIN))

    said = one.play(activity(80, session_id="s-2", **CAFE, **MUNICH))

    assert known(said) == [(True, False, True, True)]
    assert heard(said, "place_speed_kmh", "strange_sessions") == [(None, 0)]


def test_who_gets_in_after_a_wrong_password_teaches_from_then_on() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="typo", guess=True, **CAFE))
    one.play(activity(70, session_id="typo", kind="used", used=["scope:read"], **CAFE))

    assert known(one.play(activity(80, session_id="s-2", **CAFE))) == [(True, True, True, True)]


def test_a_revoked_session_teaches_nothing_any_more() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="thief", **HOME))
    one.each(activity(70, session_id="thief", kind="revoked"), activity(80, kind="client_changed", **HOME))

    assert known(one.play(activity(90, session_id="s-2", **HOME))) == [(True, True, True, True)]


def test_what_a_revoked_session_taught_holds_when_an_analyst_vouches_for_it() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="trip", **CAFE))
    one.play(activity(70, session_id="trip", kind="revoked"))

    one.play(activity(80, session_id="trip", kind="vouched"))

    assert known(one.play(activity(90, session_id="s-2", **CAFE))) == [(True, True, True, True)]


def test_a_session_vouched_for_beforehand_teaches_whatever_becomes_of_it() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="trip", **CAFE))
    one.each(*(activity(70, session_id="trip", kind=kind) for kind in ("vouched", "revoked")))

    assert known(one.play(activity(90, session_id="s-2", **CAFE))) == [(True, True, True, True)]


def test_only_the_newest_of_many_revoked_sessions_can_be_vouched_for() -> None:
    one = principal()
    one.play(activity(0, **HOME))
    for at in range(MOST_DOUBTED + 1):
        one.each(*(activity(at, session_id=f"t-{at}", kind=kind, asn=at) for kind in ("started", "revoked")))

    one.each(*(activity(60, session_id=f"t-{at}", kind="vouched") for at in range(MOST_DOUBTED + 1)))

    asked = [known(one.play(activity(90, kind="client_changed", asn=at)))[0][1] for at in (0, 1)]
    assert asked == [False, True]


VPN = {"asn": 64880, "ip": "203.0.113.9", "network_type": "vpn"}
TOR = {"asn": 64999, "ip": "203.0.113.99", "network_type": "tor"}


def test_hiding_is_news_while_the_session_lasts_that_began_it_and_habit_afterwards() -> None:
    one = principal()
    one.play(activity(0, **HOME))
    steps = [
        activity(60, session_id="s-2", **VPN),
        activity(61, session_id="s-2", kind="client_changed", **HOME),
        activity(62, session_id="s-2", kind="client_changed", **VPN),
        activity(63, session_id="s-3", **VPN),
        activity(64, session_id="s-4", **TOR),
        activity(65, session_id="s-5", principal_kind="service", **TOR),
    ]

    told = [one for one in heard(one.each(*steps), "signals") if one != (None,)]

    assert told == [
        (["new_anonymiser"],), ([],), (["new_anonymiser"],), ([],), (["new_tor"],), ([],),
    ]  # fmt: skip


def test_how_a_revoked_session_hid_is_no_habit() -> None:
    one = principal()
    one.each(activity(0, **HOME), activity(60, session_id="thief", **VPN))
    one.play(activity(70, session_id="thief", kind="revoked"))

    assert heard(one.play(activity(80, session_id="s-2", **VPN)), "signals") == [(["new_anonymiser"],)]


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
def test_the_speed_is_that_from_the_last_place_of_another_session(
    members: dict[str, Any], at: float, kmh: Any
) -> None:
    one = principal()
    one.play(activity(0, **BERLIN, network_type="wifi", country="DE"))

    said = one.play(activity(at, **{"session_id": "s-2", "network_type": "wifi", **MUNICH, **members}))

    assert heard(said, "place_speed_kmh") == [(kmh,)]


def test_the_place_of_a_revoked_session_is_no_place() -> None:
    one = principal()
    one.each(activity(0, session_id="thief", **BERLIN), activity(1, session_id="thief", kind="revoked"))

    assert heard(one.play(activity(60, **MUNICH)), "place_speed_kmh") == [(None,)]


def test_an_activity_delivered_again_is_no_second_session() -> None:
    one = principal()
    first = activity(0, **HOME)
    one.each(first, first)

    assert heard(one.play(activity(60, session_id="s-2")), "sessions_seen", "concurrent_sessions") == [(1, 1)]


def test_principals_of_two_tenants_are_two() -> None:
    one = principal()
    one.play(activity(0, tenant="zeta", **HOME))

    assert known(one.play(activity(60, **HOME))) == [(False, False, False, False)]


def test_the_habits_seen_last_are_kept() -> None:
    one = principal()
    one.each(
        *(activity(at, asn=at) for at in range(1, MOST_HABITS + 1)),
        activity(100, asn=1),
        activity(101, asn=999),
    )

    asked = [known(one.play(activity(200, kind="client_changed", asn=asn)))[0][1] for asn in (1, 3, 999, 2)]

    assert asked == [True, True, True, False]


def test_a_worker_that_takes_over_knows_the_same() -> None:
    one, other = principal(), principal()
    one.each(activity(0, **HOME, **BERLIN), activity(5, session_id="s-2", **CAFE), activity(9, kind="ended"))
    other.stage.restore(one.rows.items())
    other.stage.ready()

    nexts = [activity(60, session_id="s-3", **CAFE, **MUNICH), activity(61, session_id="s-2", kind="revoked")]
    assert other.each(*nexts) == one.each(*nexts)
    assert other.rows == one.rows


def at_home(sessions: int) -> list[Event]:
    return [activity(at, session_id=f"home-{at}", **HOME) for at in range(sessions)]


def test_what_became_of_factors_is_known_to_a_worker_that_takes_over() -> None:
    one, other = principal(), principal()
    one.each(*at_home(3), activity(60, kind="recovery_started"))
    other.stage.restore(one.rows.items())
    other.stage.ready()

    new = activity(120, session_id="s-2", **{**HOME, "device_id": "new"})
    assert other.play(new) == one.play(new)
    assert heard(read(one.messages[-1:]), "signals", "details") == [
        (
            ["factor_reset_new_device", "new_device"],
            {
                "factor_reset_new_device": "recovery_started, first seen on this device 1 min later",
                "new_device": "first seen on this device 0 min ago",
            },
        )
    ]


def test_a_factor_change_is_told_to_nobody_by_itself() -> None:
    one = principal()
    one.play(activity(0, **HOME))

    assert one.play(activity(60, kind="credential_added", **HOME)) == []


def test_a_device_stays_new_for_its_session_whatever_else_it_shows() -> None:
    one = principal()
    one.each(*at_home(3), activity(30, kind="credential_removed"))
    phone = {**HOME, "device_id": "new", "session_id": "s-2"}

    said = one.each(
        activity(60, **phone),
        activity(120, **{**phone, **CAFE, "device_id": "new"}, kind="client_changed"),
        activity(60 + 3601, **phone, kind="client_changed"),
        activity(60 + 86_401, **phone, kind="client_changed"),
    )

    both = ["factor_reset_new_device", "new_device"]
    assert heard(said, "signals") == [(both,), (both,), (both[:1],), ([],)]


def test_a_principal_without_sessions_is_forgotten_after_a_month() -> None:
    one = principal()
    late = KEEP_MS / 1000 + 120
    now = NOW + 2 * KEEP_MS
    one.each(activity(0), activity(1, kind="ended"), activity(0, principal_id="bob"), now=now)

    one.play(activity(late, principal_id="eve"), now=now)

    assert sorted(one.rows) == [b"default\xffbob", b"default\xffeve"]


def test_a_principal_fits_into_a_record_whatever_it_does() -> None:
    one = principal()
    wide = "\U0001f600"
    for start in range(0, MOST_SESSIONS + 100, 100):
        one.play(
            *(
                activity(
                    1,
                    session_id=f"{at:06d}" + wide * 122,
                    device_id=f"{at:06d}" + wide * 122,
                    user_agent=chr(0x1F000 + at % 500) + wide * 511,
                    ip=f"2001:db8:{at:x}::1",
                    used=[f"scope:{at:06d}" + wide * 240],
                )
                for at in range(start, start + 100)
            )
        )
    for at in range(MOST_SESSIONS, MOST_SESSIONS + 100):
        one.play(activity(2, session_id=f"{at:06d}" + wide * 122, kind="revoked"))

    assert max(map(len, one.rows.values())) < 950_000


ACTIVITIES = st.builds(  # with all that a session may tell
    lambda at, session_id, kind, members: activity(at, session_id=session_id, kind=kind, **members),
    st.sampled_from([0, 60, 600, 2 * KEEP_MS / 1000]),
    st.sampled_from(["s-1", "s-2", "s-3"]),
    st.sampled_from(
        [
            "started",
            "client_changed",
            "used",
            "summary",
            "ended",
            "revoked",
            "vouched",
            "device_moved",
            *FACTOR_CHANGES,
        ]
    ),
    st.sampled_from(
        [
            {},
            HOME,
            CAFE,
            VPN,
            {**CAFE, "workload": "ci"},
            {"home_asn": 64500},
            {**HOME, **BERLIN},
            {**CAFE, **MUNICH},
            {"principal_id": "bob"},
        ]
    )
    | st.fixed_dictionaries(
        {
            "used": st.none() | st.just(["scope:read"]) | st.just(["tool:mail", "operation:x"]),
            "peaks": st.none() | st.just({"calls_10m": 7.0}) | st.just({"records_10m": 1.0}),
        }
    ),
)


@given(st.lists(ACTIVITIES, min_size=1, max_size=30), st.sets(st.integers(1, 30)))
@settings(max_examples=80)
def test_where_the_stream_is_cut_changes_nothing_that_is_said(events: list[Event], cuts: set[int]) -> None:
    one, other = principal(), principal()
    one.each(*events, now=NOW + 3 * KEEP_MS)
    for chunk in chunks(events, cuts):
        other.play(*chunk, now=NOW + 3 * KEEP_MS)

    assert by_key(read(other.messages)) == by_key(read(one.messages))


def test_a_use_that_the_model_does_not_know_is_told_until_others_share_it() -> None:
    one = principal()
    used = {"kind": "used", "used": ["operation:GET /vault", "unheard:GET /vault"]}
    one.play(activity(0, **HOME))
    first = one.play(activity(60, **used, **HOME))
    for at in range(3):
        one.each(
            *(activity(90 + at, session_id=f"c-{at}", principal_id=f"c-{at}", **told) for told in ({}, used))
        )

    assert heard(first, "signals") == [(["unfamiliar_use", "unheard_use"],)]
    assert heard(one.play(activity(120, **used, **HOME)), "signals") == []
    assert heard(one.play(activity(130, kind="summary")), "signals") == [([],)]
