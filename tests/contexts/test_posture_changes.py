"""Downgrades of a device: versions compared only where they are comparable, and clocks with arrival times."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contexts.device.posture_changes import is_older
from pipeline.contexts.device.processor import device_context
from schemas import topics
from tests.support.run_processors import Event, Player, of, record
from tests.support.samples import T0, binding, telemetry

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


def notified(*events: Event) -> list[tuple[list[str], dict[str, str]]]:
    """The signals and explanations that the session on the phone gets, report by report."""
    player = Player(device_context())
    player.play(binding(-1))
    sent_events = of(player.each(*events), topics.SESSION_CONTEXT)
    return [(event["signals"], event.get("details", {})) for event in sent_events]


def clock(*reports: tuple[float, float, dict[str, Any]]) -> list[str]:
    """The explanation about the clock after each report: (made when by that clock, arrived when, other fields)."""
    player = Player(device_context())
    player.play(binding(-1))
    lines: list[str] = []
    for at, (made, arrived, members) in enumerate(reports):
        event = telemetry(made, heartbeat_interval_ms=1000, patch_level=f"2026-01-{at + 1:02}", **members)
        rec = record(event, at)._replace(timestamp=T0 + round(arrived * 1000))
        events = of(player.take(rec.topic, [rec]), topics.SESSION_CONTEXT)
        lines.append(events[-1].get("details", {}).get("clock_tampered", "") if events else "")
    return lines


Reports = list[tuple[float, float, dict[str, Any]]]


def counted(*steps: tuple[float, float, int]) -> Reports:
    """Reports with the device's own count."""
    return [(made, arrived, {"sequence": number}) for made, arrived, number in steps]


def numbered(*steps: tuple[float, float]) -> Reports:
    """Reports in the order of the device's own count."""
    return counted(*((made, arrived, number) for number, (made, arrived) in enumerate(steps, start=1)))


def off(seconds: float) -> Reports:
    """Reports by a clock that is off by as much from the first one on."""
    return numbered(*((at + seconds, at) for at in range(0, 3600, 600)))


TAMPERED: list[tuple[str, Reports, str]] = [
    (
        "it is set back from what was right",
        numbered((0, 0), (7200, 7200), (3600, 7260)),
        "the clock went back 3600 s between two reports",
    ),
    (
        "it is set back, and nobody knows when the reports arrived",
        numbered((0, -T0), (7200, -T0), (3600, -T0)),
        "the clock went back 3600 s between two reports",
    ),
    (
        "it is set ahead of what was right",
        numbered((0, 0), (4200, 600)),
        "the clock went ahead 3600 s between two reports",
    ),
    (
        "a fast clock is set ahead of what it was",
        numbered((3600, 0), (4200, 600), (8400, 1200)),
        "the clock went ahead 3600 s between two reports",
    ),
    (
        "a proof is of a time that is still to come",
        [(0, 1, {"attested_at": T0 + 3_601_000})],
        "attested 3600 s after the report was made",
    ),
]


@pytest.mark.parametrize(("reports", "words"), [row[1:] for row in TAMPERED], ids=[r[0] for r in TAMPERED])
def test_a_clock_is_tampered_with_where(reports: Reports, words: str) -> None:
    assert clock(*reports) == [""] * (len(reports) - 1) + [words]


HONEST: list[tuple[str, Reports]] = [
    *((f"a clock is off by {seconds} s for good", off(seconds)) for seconds in (133, -290, 3600, -7200)),
    ("a slow clock drifts by minutes, and is set right", numbered((0, 0), (300, 600), (1200, 1200))),
    ("a fast clock is set right", numbered((3600, 0), (4200, 600), (1200, 1200))),
    ("a slow clock is set right", numbered((0, 3600), (600, 4200), (4800, 4800))),
    ("buffered reports come late", counted((0, 0, 1), (7200, 7200, 3), (300, 7201, 2))),
    ("one report of a fast clock comes late", numbered((3600, 0), (4200, 9000), (12_700, 9100))),
    ("the count starts anew", counted((0, 0, 9), (900, 900, 10), (910, 910, 0))),
    ("reports have no count, and come late", [(0, 0, {}), (7200, 7200, {}), (300, 7201, {})]),
    ("a slow device attests by the time of the server", [(0, 3600, {"attested_at": T0 + 3_590_000})]),
    ("a proof is a little ahead", [(0, 0, {"attested_at": T0 + 290_000})]),
]


@pytest.mark.parametrize("reports", [row[1] for row in HONEST], ids=[row[0] for row in HONEST])
def test_a_clock_is_not_tampered_with_where(reports: Reports) -> None:
    assert clock(*reports) == [""] * len(reports)


def test_a_jump_is_forgotten_after_an_hour_and_the_new_time_is_the_reference() -> None:
    lines = clock(*numbered((0, 0), *((at + 7200, at) for at in range(600, 6000, 600))))

    assert [bool(words) for words in lines] == [False, *[True] * 7, False, False]


def test_a_value_back_to_what_it_was_ends_the_signal_and_one_between_does_not() -> None:
    steps = ["strong", "none", "basic", "unevaluated", "device", "strong"]

    rows = notified(*(telemetry(60 * at, attestation=step) for at, step in enumerate(steps)))

    downgraded = ["attestation_downgraded"]
    assert [signals for signals, _ in rows] == [[], downgraded, downgraded, downgraded, [], []]
    assert rows[1][1] == {"attestation_downgraded": "attestation strong → none"}


def test_another_system_on_the_same_machine_is_not_compared() -> None:
    by_key = {"platform": "windows", "os_version": "11.0", "patch_level": "2026-02-01"}
    other = {"platform": "linux", "os_version": "6.8", "patch_level": "2026-01-01"}

    rows = notified(telemetry(0, **by_key), telemetry(60, **other), telemetry(120, **by_key))

    assert [signals for signals, _ in rows] == [[], [], []]


def test_a_session_that_shows_another_client_is_still_on_the_phone_it_was_on() -> None:
    player = Player(device_context())
    player.each(telemetry(0, screen_lock=True), binding(1), telemetry(60, screen_lock=False))

    (event,) = of(player.play(binding(120)), topics.SESSION_CONTEXT)

    assert event["signals"] == ["posture_downgraded"]


def test_a_fact_that_a_device_never_reported_cannot_get_worse() -> None:
    bad = {"managed": False, "encrypted": False, "attestation": "none", "developer_mode": True}

    assert notified(telemetry(0), telemetry(60, **bad)) == [([], {}), ([], {})]
