"""Network of a device: its users are notified when it moved, and nobody else is."""

from __future__ import annotations

from typing import Any

from pipeline.contexts.device.network import MAX_USERS
from pipeline.contexts.device.processor import device_context
from schemas import topics
from tests.support.run_processors import Event, Player, SentMessage, of
from tests.support.samples import T0, binding, telemetry

HOME = {"ip": "192.0.2.1", "asn": 64500}
CAFE = {"ip": "198.51.100.1", "asn": 64501}


def device() -> Player:
    return Player(device_context())


def notified(sent: list[SentMessage]) -> list[tuple[str, str, int | None]]:
    """Which principal was notified of which network of which device."""
    events = of(sent, topics.PRINCIPAL_ACTIVITY)
    return [(event["principal_id"], event["device_id"], event.get("asn")) for event in events]


def on(at: float, name: str = "ana", **members: Any) -> Event:
    return binding(at, session_id=f"s-{name}", principal_id=name, **members)


def test_a_person_is_notified_where_the_device_is_and_where_it_moves() -> None:
    player = device()

    sent = player.each(telemetry(0, **HOME), on(5, event_id="b-1"), telemetry(60, **HOME), telemetry(90, **CAFE))

    assert notified(sent) == [("ana", "phone-1", 64500), ("ana", "phone-1", 64501)]
    assert next(message for message in sent if message.topic == topics.PRINCIPAL_ACTIVITY) == SentMessage(
        topics.PRINCIPAL_ACTIVITY,
        "ana",
        {
            "type": "principal.activity",
            "event_id": "b-1~a",
            "occurred_at": T0 + 5_000,
            "tenant": "default",
            "session_id": "s-ana",
            "principal_id": "ana",
            "principal_kind": "human",
            "kind": "device_moved",
            "device_id": "phone-1",
            "ip": "192.0.2.1",
            "asn": 64500,
        },
    )


def test_the_same_network_under_another_address_is_no_move() -> None:
    player = device()
    player.each(telemetry(0, **HOME), on(5))

    same: list[dict[str, Any]] = [
        {"ip": "2001:db8:1::1", "asn": 64500},
        {"ip": "192.0.2.77", "asn": None},
        {},
    ]
    assert notified(player.each(*(telemetry(60 + at, **place) for at, place in enumerate(same)))) == []


def test_a_report_that_comes_late_moves_nothing() -> None:
    player = device()
    player.each(telemetry(0, **HOME), on(5), telemetry(90, **CAFE))

    assert notified(player.play(telemetry(60, **HOME))) == []


def test_a_device_that_never_reports_its_network_notifies_nobody() -> None:
    assert notified(device().each(telemetry(0), on(5), telemetry(60))) == []


def test_a_private_address_is_no_network() -> None:
    player = device()

    assert notified(player.each(telemetry(0, ip="192.168.1.20"), on(5))) == []
    assert notified(player.play(telemetry(60, ip="10.1.2.3", asn=64500))) == [("ana", "phone-1", 64500)]


def test_a_person_who_comes_back_is_notified_only_of_a_move_in_between() -> None:
    player = device()
    player.each(telemetry(0, **HOME), on(5), on(50, state="ended"))

    assert notified(player.play(on(100))) == []
    assert notified(player.each(on(150, state="ended"), telemetry(200, **CAFE), on(300))) == [("ana", "phone-1", 64501)]


def test_only_people_are_notified_and_of_many_the_last() -> None:
    player = device()
    player.each(telemetry(0, **HOME), on(1, "bot", principal_kind="agent"))
    names = [f"u-{at}" for at in range(MAX_USERS + 2)]
    player.each(*(on(5 + at, name) for at, name in enumerate(names)))

    assert notified(player.play(telemetry(90, **CAFE))) == [(name, "phone-1", 64501) for name in names[2:]]


def test_a_worker_that_takes_over_knows_where_the_device_is_and_who_was_notified() -> None:
    player, other = device(), device()
    player.each(telemetry(0, **HOME), on(5))
    other.stage.restore(player.rows.items())
    other.stage.on_restored()

    assert notified(other.each(telemetry(60, **HOME), telemetry(90, **CAFE))) == [("ana", "phone-1", 64501)]
