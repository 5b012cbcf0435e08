"""Times: how long a detection counts and a level is held, when a session wakes and is reported again."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from tests.support.decision_session import new_session

DAY = 86_400


@pytest.mark.parametrize("rule", [rule for rule in DETECTIONS if 0 < rule.hold_s < DAY], ids=lambda rule: rule.id)
def test_a_detection_goes_on_counting_for_its_hold_time(rule: Any) -> None:
    session = new_session('mode = "observe"')
    session.see(0, rule.id)
    session.see(10, rule.id)
    session.see(20)

    kept, over = session.see(10 + rule.hold_s), session.see(10 + rule.hold_s + 1)

    assert [part.detection for part in kept.contributions] == [rule.id]
    assert over.contributions == []


def test_what_holds_without_anything_new_counts_as_long_as_it_holds() -> None:
    session = new_session('mode = "observe"')
    session.see(0, "mass_read")
    session.see(7200, "mass_read")

    assert [part.detection for part in session.see(7260).contributions] == ["mass_read"]
    assert session.risk_state.episodes["mass_read"].last_at == 7_200_000


def test_a_detection_held_until_the_event_before_it_stopped() -> None:
    session = new_session('mode = "observe"')
    session.see(0, "mass_read")
    session.at = 600_000  # events that the slow path did not see

    session.see(601)

    assert session.risk_state.episodes["mass_read"].last_at == 600_000
    assert [part.detection for part in session.see(600 + 1800).contributions] == ["mass_read"]


def test_a_level_is_lowered_after_its_dwell_time_and_reported_once() -> None:
    session = new_session('mode = "observe"')
    session.see(0, "device_rooted")

    early, due, later = session.see(30), session.see(61), session.see(62)

    assert (early.level, due.level, later.level) == ("HIGH", "LOW", "LOW")
    assert (due.is_reported, due.previous, later.is_reported) == (True, "HIGH", False)


def test_a_session_wakes_when_time_alone_changes_something() -> None:
    session = new_session('mode = "observe"\n[times]\nrepeat_s = 5000')
    session.see(0, "mass_read")
    session.see(10)

    assert session.wake() == 60
    session.see(60)
    assert session.wake() == 1800.001
    session.see(1800.001)
    assert (session.risk_state.level, session.wake(), session.risk_state.is_empty()) == ("LOW", 0, True)


def test_a_session_without_evidence_never_wakes() -> None:
    session = new_session()
    session.see(0)

    assert (session.wake(), session.risk_state.is_empty()) == (0, True)


def test_a_raised_level_is_reported_again_but_not_at_every_event() -> None:
    session = new_session('mode = "observe"')

    numbers = [at for at in range(0, 3000, 10) if session.see(at, "mass_read").is_reported]

    assert numbers == [0, 900, 1800]


def test_a_decision_that_stands_is_reported_after_a_quarter_of_an_hour_then_ever_less_often_but_daily() -> None:
    session = new_session(kind="service")
    reported = [at for at in range(0, 4 * 86_400, 60) if session.see(at, "api_key_off_place").is_reported]

    assert [at // 60 for at in reported[:8]] == [0, 15, 30, 60, 120, 240, 480, 960]
    assert [later - at for at, later in zip(reported[-3:], reported[-2:], strict=False)] == [86_400, 86_400]


def test_a_session_wakes_when_its_decision_is_due_again() -> None:
    session = new_session("[levels]\ndwell_s = 0", kind="service")
    for at in (0, 900, 1800):
        session.see(at, "api_key_off_place")

    assert session.wake() == 3600
