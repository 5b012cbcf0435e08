"""For how long a detection counts and a level stays, and when a session is looked at and told of again."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from tests.support.decision_session import session

DAY = 86_400


@pytest.mark.parametrize("rule", [rule for rule in DETECTIONS if 0 < rule.hold_s < DAY], ids=lambda rule: rule.id)
def test_a_detection_goes_on_counting_for_its_hold_time(rule: Any) -> None:
    this_session = session('mode = "observe"')
    this_session.see(0, rule.id)
    this_session.see(10, rule.id)
    this_session.see(20)

    kept, over = this_session.see(10 + rule.hold_s), this_session.see(10 + rule.hold_s + 1)

    assert [part.detection for part in kept.contributions] == [rule.id]
    assert over.contributions == []


def test_what_holds_without_anything_new_counts_as_long_as_it_holds() -> None:
    this_session = session('mode = "observe"')
    this_session.see(0, "mass_read")
    this_session.see(7200, "mass_read")

    assert [part.detection for part in this_session.see(7260).contributions] == ["mass_read"]
    assert this_session.case.episodes["mass_read"].last_at == 7_200_000


def test_a_detection_held_until_the_event_before_it_stopped() -> None:
    this_session = session('mode = "observe"')
    this_session.see(0, "mass_read")
    this_session.at = 600_000  # events that gave no cause to look

    this_session.see(601)

    assert this_session.case.episodes["mass_read"].last_at == 600_000
    assert [part.detection for part in this_session.see(600 + 1800).contributions] == ["mass_read"]


def test_a_level_is_lowered_after_its_dwell_time_and_reported_once() -> None:
    this_session = session('mode = "observe"')
    this_session.see(0, "device_rooted")

    early, due, later = this_session.see(30), this_session.see(61), this_session.see(62)

    assert (early.level, due.level, later.level) == ("HIGH", "LOW", "LOW")
    assert (due.is_reported, due.previous, later.is_reported) == (True, "HIGH", False)


def test_a_session_wakes_when_time_alone_changes_something() -> None:
    this_session = session('mode = "observe"\n[times]\nrepeat_s = 5000')
    this_session.see(0, "mass_read")
    this_session.see(10)

    assert this_session.wake() == 60
    this_session.see(60)
    assert this_session.wake() == 1800.001
    this_session.see(1800.001)
    assert (this_session.case.level, this_session.wake(), this_session.case.is_empty()) == ("LOW", 0, True)


def test_a_session_without_evidence_never_wakes() -> None:
    this_session = session()
    this_session.see(0)

    assert (this_session.wake(), this_session.case.is_empty()) == (0, True)


def test_a_raised_level_is_reported_again_but_not_at_every_event() -> None:
    this_session = session('mode = "observe"')

    numbers = [at for at in range(0, 3000, 10) if this_session.see(at, "mass_read").is_reported]

    assert numbers == [0, 900, 1800, 2700]
