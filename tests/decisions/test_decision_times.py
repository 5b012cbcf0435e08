"""For how long a detection counts and a level stays, and when a session is looked at and told of again."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from tests.support.decision_session import session

DAY = 86_400


@pytest.mark.parametrize(
    "rule", [rule for rule in DETECTIONS if 0 < rule.hold_s < DAY], ids=lambda rule: rule.id
)
def test_a_detection_goes_on_counting_for_its_hold_time(rule: Any) -> None:
    one = session('mode = "observe"')
    one.see(0, rule.id)
    one.see(10, rule.id)
    one.see(20)

    kept, over = one.see(10 + rule.hold_s), one.see(10 + rule.hold_s + 1)

    assert [part.detection for part in kept.parts] == [rule.id]
    assert over.parts == []


def test_what_holds_without_anything_new_counts_as_long_as_it_holds() -> None:
    one = session('mode = "observe"')
    one.see(0, "mass_read")
    one.see(7200, "mass_read")

    assert [part.detection for part in one.see(7260).parts] == ["mass_read"]
    assert one.case.episodes["mass_read"].last_at == 7_200_000


def test_a_detection_held_until_the_event_before_it_stopped() -> None:
    one = session('mode = "observe"')
    one.see(0, "mass_read")
    one.at = 600_000  # events that gave no cause to look

    one.see(601)

    assert one.case.episodes["mass_read"].last_at == 600_000
    assert [part.detection for part in one.see(600 + 1800).parts] == ["mass_read"]


def test_a_level_falls_after_its_dwell_time_and_says_so_once() -> None:
    one = session('mode = "observe"')
    one.see(0, "device_rooted")

    early, due, later = one.see(30), one.see(61), one.see(62)

    assert (early.level, due.level, later.level) == ("HIGH", "LOW", "LOW")
    assert (due.report, due.previous, later.report) == (True, "HIGH", False)


def test_a_session_is_looked_at_again_when_time_alone_changes_something() -> None:
    one = session('mode = "observe"\n[times]\nrepeat_s = 5000')
    one.see(0, "mass_read")
    one.see(10)

    assert one.wake() == 60
    one.see(60)
    assert one.wake() == 1800.001
    one.see(1800.001)
    assert (one.case.level, one.wake(), one.case.empty()) == ("LOW", 0, True)


def test_a_session_without_evidence_never_wakes() -> None:
    one = session()
    one.see(0)

    assert (one.wake(), one.case.empty()) == (0, True)


def test_risk_is_repeated_while_it_lasts_but_not_on_every_look() -> None:
    one = session('mode = "observe"')

    said = [at for at in range(0, 3000, 10) if one.see(at, "mass_read").report]

    assert said == [0, 900, 1800, 2700]
