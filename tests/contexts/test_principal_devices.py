"""Network that a session moved to: known if its own device reports from there too."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contexts.principal.device_networks import MAX_DEVICES
from pipeline.contexts.principal.processor import principal_context
from schemas import topics
from tests.support.histories import CAFE as AT_CAFE
from tests.support.histories import CLEAN, ON, earlier, ms, others
from tests.support.histories import HOME as AT_HOME
from tests.support.run_processors import Event, Player, SentMessage, found, of, replayed
from tests.support.samples import T0, activity, auth, call, telemetry

HOME = {"device_id": "laptop", "ip": "192.0.2.1", "asn": 64500, "user_agent": "Firefox/140"}
VPN = {**HOME, "ip": "198.51.100.1", "asn": 64501}
HOTEL = {**HOME, "ip": "203.0.113.1", "asn": 64502}


def at_home(**members: Any) -> Player:
    """A person with a session at home, on a laptop that reports its network and was used before."""
    player = Player(principal_context())
    player.each(
        activity(-9000, session_id="before", **HOME),
        activity(0, **{**HOME, **members}),
        is_in(1, HOME),
    )
    return player


def is_in(at: float, place: dict[str, Any], device_id: str = "laptop") -> Event:
    return activity(at, kind="device_moved", device_id=device_id, ip=place["ip"], asn=place["asn"])


def moves(at: float, place: dict[str, Any], **members: Any) -> Event:
    return activity(at, kind="client_changed", **{**place, **members})


def notified(sent: list[SentMessage]) -> list[tuple[str, bool | None]]:
    """Which session was notified whether its network is known."""
    return [(event["session_id"], event.get("known_asn")) for event in of(sent, topics.SESSION_CONTEXT)]


def later(one: Player, at: float) -> list[SentMessage]:
    """Somebody else's session starts at *at* seconds, and with it time goes on."""
    sent = one.play(activity(at, principal_id="ben", session_id="b-1"))
    return [message for message in sent if message.key != "b-1"]


def test_a_network_that_the_device_reported_from_is_known() -> None:
    player = at_home()

    assert player.play(is_in(60, VPN)) == []
    assert notified(player.play(moves(62, VPN))) == [("s-1", True)]


@pytest.mark.parametrize("place", [{**VPN, "asn": None}, {**VPN, "ip": None}, {**VPN, "ip": "2001:db8:9::1"}])
def test_a_report_names_its_network_by_number_or_prefix(place: dict[str, Any]) -> None:
    player = at_home()
    player.play(is_in(60, place))

    assert notified(player.play(moves(62, VPN))) == [("s-1", True)]


def test_a_call_that_arrives_before_the_report_is_decided_when_the_device_is_there() -> None:
    player = at_home()

    assert notified(player.play(moves(60, VPN))) == [("s-1", None)]
    assert notified(player.play(is_in(64, VPN))) == [("s-1", True)]
    assert later(player, 300) == []


def test_a_network_that_the_device_never_comes_to_is_unknown_after_the_wait() -> None:
    player = at_home()
    player.play(moves(60, VPN, event_id="e-9~a"))

    (message,) = later(player, 130)

    assert notified([message]) == [("s-1", False)]
    assert message.body["event_id"].startswith("e-9~a~")
    assert message.body["occurred_at"] == T0 + 60_000
    assert later(player, 300) == []


def test_the_owner_going_on_at_home_does_not_make_the_thiefs_network_known() -> None:
    player = at_home()
    player.each(moves(60, VPN), moves(65, HOME), moves(70, VPN))

    assert notified(later(player, 130)) == [("s-1", False)]


def test_a_device_that_moves_elsewhere_confirms_nothing() -> None:
    player = at_home()
    player.play(moves(60, VPN))

    assert player.play(is_in(64, HOTEL)) == []
    assert notified(later(player, 130)) == [("s-1", False)]


def test_a_session_that_moves_twice_before_its_device_waits_no_longer() -> None:
    player = at_home()

    assert notified(player.each(moves(60, VPN), moves(70, HOTEL))) == [("s-1", None), ("s-1", False)]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (moves(60, VPN, device_id=None), "somebody who shows no device"),
        (moves(60, VPN, device_id="other"), "a device nobody knows"),
        (moves(60, VPN, device_id="phone"), "a device that does not say where it is"),
        (activity(60, session_id="s-2", **VPN), "a session that starts there"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_nobody_waits_for(event: Event, why: str) -> None:
    player = at_home()
    player.play(activity(10, session_id="s-3", **{**HOME, "device_id": "phone"}))

    assert [known for _, known in notified(player.play(event))] == [False], why


def test_a_machine_has_no_device_to_wait_for() -> None:
    player = at_home(principal_kind="service")

    assert notified(player.play(moves(60, VPN, principal_kind="service"))) == [("s-1", False)]


def test_a_tunnel_that_the_device_uses_too_hides_nobody() -> None:
    """The signal comes with the other fields; in the hour after a move the detection based on it is inactive."""
    player, other, thief = at_home(), at_home(), at_home()
    hidden = {**VPN, "network_type": "vpn"}
    summary = activity(1800, kind="summary")

    there = [is_in(60, VPN), moves(62, hidden), summary]
    followed = [moves(62, hidden), is_in(64, VPN), summary]
    alone = [moves(62, hidden), activity(130, principal_id="ben", session_id="b-1"), summary]

    assert [_signals(player.each(*there)), _signals(other.each(*followed)), _signals(thief.each(*alone))] == [
        [[], []],
        [["new_anonymiser"], []],
        [["new_anonymiser"], ["new_anonymiser"]],
    ]


def test_tor_hides_whoever_uses_it() -> None:
    player = at_home()
    sent = player.each(is_in(60, VPN), moves(62, {**VPN, "network_type": "tor"}))

    assert _signals(sent) == [["new_tor"]]


def _signals(sent: list[SentMessage]) -> list[list[str]]:
    """The signals that session s-1 got, if it got any."""
    events = of(sent, topics.SESSION_CONTEXT, "s-1")
    return [event["signals"] for event in events if "signals" in event]


def test_a_session_that_ended_is_not_notified_any_more() -> None:
    player = at_home()
    player.each(moves(60, VPN), activity(70, kind="ended"))

    assert later(player, 130) == []


def test_of_many_devices_the_last_to_move_are_remembered() -> None:
    player = at_home()
    player.each(*(is_in(60, VPN, f"d-{at}") for at in range(MAX_DEVICES)))

    assert notified(player.play(moves(70, VPN))) == [("s-1", False)]


def test_a_worker_that_takes_over_knows_who_waits_and_where_devices_are() -> None:
    player, other = at_home(), Player(principal_context())
    player.play(moves(60, VPN))
    other.stage.restore(player.rows.items())
    other.stage.on_restored()

    there = is_in(64, VPN)
    sent = other.play(there)
    assert notified(sent) == [("s-1", True)]
    assert sent == player.play(there)


# --- through all stages -----------------------------------------------------------------------------------


def reports(place: dict[str, Any], *times: float) -> list[Event]:
    where = {name: place[name] for name in ("ip", "asn")}
    return [telemetry(at, **CLEAN, **where) for at in times]


def toggled(back: dict[str, Any]) -> list[Event]:
    """A session at home goes on from a new network; the device reports from *back* three seconds later."""
    start = [*earlier(AT_HOME, **ON), *reports(AT_HOME, *range(0, 1200, 60)), auth(0, **AT_HOME, **ON)]
    return [
        *start,
        call(1100, **AT_HOME, **ON),
        call(1200, **AT_CAFE, **ON),
        *reports(back, 1203, 1260, 1320),
        call(1210, **AT_CAFE, **ON),
        call(1330, **AT_CAFE, **ON),
        *others(1400),
    ]


def test_a_person_who_takes_the_device_along_is_not_challenged() -> None:
    sent = replayed(toggled(AT_CAFE))

    assert (found(sent, "s-1"), of(sent, topics.SESSION_CHALLENGES)) == (set(), [])


def test_a_thief_with_the_cookie_but_not_the_device_is_challenged_within_two_minutes() -> None:
    sent = replayed(toggled(AT_HOME))

    (asked,) = of(sent, topics.SESSION_CHALLENGES)
    assert (found(sent, "s-1"), asked["detections"]) == ({"network_changed"}, ["network_changed"])
    risk = of(sent, topics.SESSION_RISK, "s-1")[0]
    assert ms(1200) < risk["occurred_at"] <= ms(1320)
