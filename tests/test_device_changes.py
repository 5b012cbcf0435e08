"""What became worse on a device: versions compared only where they can be, clocks held against each other."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.device import device_context
from pipeline.device_changes import is_older
from playing import Event, Player, of, record
from samples import T0, binding, telemetry
from schemas import topics

VERSIONS = [
    ("17.5.1", "17.4", True),
    ("17.10", "17.9", True),
    ("Android 14.1", "android 13.9", True),
    ("10.0.22631.3447", "10.0.19045.1", True),
    ("15", "14", True),
    ("17.5 (21F79)", "17.4 (21E236)", True),
    ("17.9", "17.10", False),
    ("17.5", "17.5", False),
    ("17.5.1", "17.5", False),
    ("11", "10.0.22631", False),
    ("Android 14", "13", False),
    ("Sonoma", "Ventura", False),
    ("", "1", False),
]


@pytest.mark.parametrize(("was", "now", "older"), VERSIONS, ids=[f"{a} to {b}" for a, b, _ in VERSIONS])
def test_a_version_is_older_only_where_both_are_written_alike(was: str, now: str, older: bool) -> None:
    assert is_older(was, now) is older


def heard(*events: Event) -> list[tuple[list[str], dict[str, str]]]:
    """What the session on the phone hears, report by report."""
    one = Player(device_context())
    one.play(binding(-1))
    said = of(one.each(*events), topics.SESSION_CONTEXT)
    return [(one["signals"], one.get("details", {})) for one in said]


def clock(*events: Event) -> list[str]:
    """What was said of the clock at the end."""
    return [heard(*events)[-1][1].get("clock_tampered", "")]


def numbered(*steps: tuple[float, int]) -> list[Event]:
    return [telemetry(at, sequence=number) for at, number in steps]


def test_a_clock_that_goes_back_while_reports_go_on_is_told() -> None:
    assert clock(*numbered((0, 1), (600, 2), (300, 3))) == ["the clock went back 300 s between two reports"]


HONEST: list[tuple[str, list[Event]]] = [
    ("buffered reports that come late", numbered((0, 1), (600, 3), (300, 2))),
    ("a clock set right by a minute", numbered((0, 1), (600, 2), (540, 3))),
    ("a count that starts anew", numbered((0, 9), (600, 10), (610, 0))),
    ("reports without a count", [telemetry(0), telemetry(600), telemetry(300)]),
    ("an attestation a little ahead", [telemetry(0, attested_at=T0 + 90_000)]),
]


@pytest.mark.parametrize("events", [row[1] for row in HONEST], ids=[row[0] for row in HONEST])
def test_lateness_and_small_corrections_are_no_contradiction(events: list[Event]) -> None:
    assert clock(*events) == [""]


def received(event: Event, *, after: float) -> list[Any]:
    """What the session hears of a report that the broker received so many seconds after it was made."""
    one = Player(device_context())
    one.each(telemetry(0), binding(1))
    told = record(event, 1)._replace(timestamp=event["occurred_at"] + round(after * 1000))
    return [said["signals"] for said in of(one.take(told.topic, [told]), topics.SESSION_CONTEXT)]


@pytest.mark.parametrize(
    ("after", "signals"), [(-200, ["clock_tampered"]), (-100, []), (0, []), (86_400, [])]
)
def test_a_report_from_the_future_is_told_and_one_from_the_past_is_not(
    after: float, signals: list[str]
) -> None:
    assert received(telemetry(500), after=after) == [signals]


def test_a_record_without_a_timestamp_contradicts_nothing() -> None:
    event = telemetry(500)

    assert received(event, after=-(event["occurred_at"] + 1) / 1000) == [[]]


def test_a_contradiction_is_forgotten_after_an_hour() -> None:
    later = [telemetry(at, sequence=at) for at in range(700, 4400, 60)]
    said = heard(*numbered((0, 1), (600, 2), (300, 3)), *later)

    assert [signals for signals, _ in said][-1] == []
    assert sum("clock_tampered" in signals for signals, _ in said) == 55


def test_a_value_back_to_what_it_was_ends_the_signal_and_one_between_does_not() -> None:
    steps = ["strong", "none", "basic", "unevaluated", "device", "strong"]

    said = heard(*(telemetry(60 * at, attestation=step) for at, step in enumerate(steps)))

    downgraded = ["attestation_downgraded"]
    assert [signals for signals, _ in said] == [[], downgraded, downgraded, downgraded, [], []]
    assert said[1][1] == {"attestation_downgraded": "attestation strong → none"}


def test_another_system_on_the_same_machine_is_not_compared() -> None:
    one = {"platform": "windows", "os_version": "11.0", "patch_level": "2026-02-01"}
    other = {"platform": "linux", "os_version": "6.8", "patch_level": "2026-01-01"}

    said = heard(telemetry(0, **one), telemetry(60, **other), telemetry(120, **one))

    assert [signals for signals, _ in said] == [[], [], []]


def test_a_session_that_shows_another_client_is_still_on_the_phone_it_was_on() -> None:
    one = Player(device_context())
    one.each(telemetry(0, screen_lock=True), binding(1), telemetry(60, screen_lock=False))

    (said,) = of(one.play(binding(120)), topics.SESSION_CONTEXT)

    assert said["signals"] == ["posture_downgraded"]


def test_what_a_device_never_said_cannot_get_worse() -> None:
    bad = {"managed": False, "encrypted": False, "attestation": "none", "developer_mode": True}

    assert heard(telemetry(0), telemetry(60, **bad)) == [([], {}), ([], {})]
