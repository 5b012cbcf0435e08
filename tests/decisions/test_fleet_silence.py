"""Silent fleets: devices are counted by tenant, over live sessions."""

from __future__ import annotations

import pytest

from pipeline.decisions.guard import Guard, silent_fleets
from pipeline.decisions.policy import GuardLimits
from tests.support.run_processors import Desk, Event
from tests.support.samples import T0, auth, call, context

HEARTBEAT_MS = 30_000
LATE = T0 + 10 * HEARTBEAT_MS


def on_phone(
    number: int, tenant: str, *, heard_at: int = T0, interval_ms: int = HEARTBEAT_MS, used: bool = True
) -> list[Event]:
    """A session on its own phone, which has a heartbeat interval and last sent telemetry at *heard_at*.

    It is *used* until the silence is as long as a guard needs to see it and no detection does; or it rests.
    """
    subject = {"session_id": f"s-{number}", "tenant": tenant}
    members = {"heard_at": heard_at, "heartbeat_interval_ms": interval_ms}
    until = min(300, (heard_at - T0 + 3 * interval_ms // 2) // 1000 + 35)
    calls = [call(at, **subject) for at in range(0, until, 25)] if used else []
    return [auth(0, **subject, device_id=f"phone-{number}"), context(0, **subject, **members), *calls]


def silent(*events: Event, least: int = 3, share: float = 0.5) -> set[str]:
    """The tenants whose fleet is found silent after *events*."""
    desk = Desk()
    desk.each(*events)
    rules = GuardLimits(silent_fleet_min_devices=least, silent_fleet_share=share)
    return set(silent_fleets(desk.scorer.table, LATE, Guard(rules, 1.0)))


def test_phones_of_idle_sessions_are_no_silent_fleet() -> None:
    resting = [event for number in range(30) for event in on_phone(number, "acme", used=False)]
    events = [event for number in range(30, 33) for event in on_phone(number, "acme", heard_at=LATE)]

    assert silent(*resting, *events) == set()


def test_each_tenant_is_counted_by_itself() -> None:
    gone = [event for number in range(3) for event in on_phone(number, "acme")]
    fine = [event for number in range(3, 20) for event in on_phone(number, "zeta", heard_at=LATE)]
    few = [event for number in range(20, 22) for event in on_phone(number, "zeta")]

    assert silent(*gone, *fine, *few) == {"acme"}


@pytest.mark.parametrize(("deliveries", "answer"), [(3, {"acme"}), (4, set())])
def test_the_share_is_of_all_devices_of_the_tenant(deliveries: int, answer: set[str]) -> None:
    gone = [event for number in range(3) for event in on_phone(number, "acme")]
    fine = [event for number in range(3, 3 + deliveries) for event in on_phone(number, "acme", heard_at=LATE)]

    assert silent(*gone, *fine) == answer


def test_devices_that_are_not_due_yet_do_not_count_whatever_other_tenants_do() -> None:
    gone = [event for number in range(3) for event in on_phone(number, "acme")]
    slow = [event for number in range(3, 20) for event in on_phone(number, "acme", interval_ms=HEARTBEAT_MS * 20)]
    others = [event for number in range(20, 23) for event in on_phone(number, "zeta", interval_ms=HEARTBEAT_MS * 4)]

    assert silent(*gone, *slow, *others) == {"acme", "zeta"}


def test_many_sessions_on_one_device_count_as_one_silent_device() -> None:
    events = [event for number in range(5) for event in on_phone(number, "acme")]
    same = [event | {"device_id": "phone-1"} if event["type"] == "auth.event" else event for event in events]

    assert (silent(*events), silent(*same)) == ({"acme"}, set())


def test_ended_sessions_and_devices_without_a_heartbeat_interval_are_not_counted() -> None:
    events = [event for number in range(3) for event in on_phone(number, "acme")]
    ended = auth(1, action="sign_out", session_id="s-0", tenant="acme", device_id="phone-0")
    mute = [event | {"heartbeat_interval_ms": None} if "heard_at" in event else event for event in events]

    assert (silent(*events, ended), silent(*mute)) == (set(), set())


def unheard(*events: Event) -> list[str]:
    """Which of acme and zeta have no device that sends telemetry after *events*."""
    desk, guard = Desk(), Guard(GuardLimits(), 1.0)
    desk.each(*events)
    silent_fleets(desk.scorer.table, LATE, guard)
    return [tenant for tenant in ("acme", "zeta") if guard.cannot_verify_silence(tenant)]


def test_the_silence_of_a_tenants_only_device_cannot_be_verified() -> None:
    fine = on_phone(1, "zeta", heard_at=LATE)

    assert unheard(*on_phone(0, "acme"), *fine) == ["acme"]


def test_one_device_that_sends_telemetry_verifies_the_silence_of_others() -> None:
    assert unheard(*on_phone(0, "acme"), *on_phone(1, "acme", heard_at=LATE)) == []


def test_a_device_that_is_not_due_yet_verifies_nothing() -> None:
    saving = on_phone(1, "acme", interval_ms=HEARTBEAT_MS * 20)

    assert unheard(*on_phone(0, "acme"), *saving) == ["acme"]


def region(*silenced_s: float, used: bool = True) -> list[Event]:
    """Twenty devices that send telemetry, and devices that fell silent at *silenced_s*, in use or idle."""
    fine = [event for number in range(20) for event in on_phone(number, "acme", heard_at=LATE)]
    gone = [
        event
        for number, at in enumerate(silenced_s, start=20)
        for event in on_phone(number, "acme", heard_at=T0 + round(at * 1000), used=used)
    ]
    return [*fine, *gone]


def test_silence_of_devices_that_fell_silent_together_cannot_be_verified() -> None:
    assert unheard(*region(0, 12, 29)) == ["acme"]


def test_silence_of_devices_that_fell_silent_one_after_another_can_be_verified() -> None:
    assert unheard(*region(0, 31, 62)) == []


def test_idle_devices_may_sleep_and_verify_nothing() -> None:
    assert unheard(*region(0, 12, 29, used=False)) == []
