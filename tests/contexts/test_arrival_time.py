"""Arrival time of telemetry: a device's own clock only orders its reports."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contexts.device.processor import device_context
from pipeline.offline.replay.recording import InputRecord
from schemas import topics
from schemas.decode import encode
from tests.offline.test_replay import play
from tests.support.run_processors import Event, Player, Rec, SentMessage, found, of, read, record, recorded
from tests.support.samples import T0, auth, binding, call, telemetry

QUARTER_HOUR, HOUR = 900, 3600
MINUTE = {"heartbeat_interval_ms": 60_000}
AHEAD = [0, QUARTER_HOUR, -QUARTER_HOUR, 14 * HOUR, -50 * HOUR]
"""Seconds by which a device's clock is wrong."""


def report(at: float, ahead: float = 0, **members: Any) -> tuple[float, Event]:
    """Telemetry that arrives at second *at*, by a clock so many seconds ahead."""
    return at, telemetry(at + ahead, **{"sequence": round(at), **MINUTE, **members})


class Device(Player):
    """A device context that receives reports when they arrive."""

    def __init__(self) -> None:
        super().__init__(device_context())

    def hear(self, *reports: tuple[float, Event]) -> list[Event]:
        """The messages to sessions that follow from each report, in order."""
        return of(
            [message for report in reports for message in self._one(*report)],
            topics.SESSION_CONTEXT,
        )

    def _one(self, at: float, event: Event) -> list[SentMessage]:
        now = T0 + round(at * 1000)
        rec: Rec = record(event, self.offsets["reports"])._replace(timestamp=now)
        self.offsets["reports"] += 1
        return self.take(rec.topic, [rec], now)


def bound(*, at: float = 0) -> Device:
    """A device with a live session."""
    device = Device()
    device.play(binding(at))
    return device


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_device_counts_as_heard_when_its_report_arrives_whatever_its_clock_says(ahead: float) -> None:
    events = bound().hear(report(60, ahead), report(120, ahead))

    assert [(event["heard_at"] - T0, event["occurred_at"] - T0) for event in events] == [
        (60_000, 60_000),
        (120_000, 120_000),
    ]


def test_a_report_from_an_archive_has_the_time_in_the_report() -> None:
    weeks = 10 * 24 * HOUR

    events = bound().hear(report(weeks, -weeks + 60), report(weeks + 60, -weeks + 60))

    assert [(event["heard_at"] - T0, event["occurred_at"] - T0) for event in events] == [
        (60_000, 60_000),
        (120_000, 120_000),
    ]


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_report_by_a_wrong_clock_counts_until_a_later_report_corrects_it(ahead: float) -> None:
    events = bound().hear(report(60, ahead, rooted=True), report(120, ahead, rooted=False), report(180, ahead))

    assert [event["rooted"] for event in events] == [True, False, False]


@pytest.mark.parametrize("count", [{}, {"sequence": None}], ids=["counted", "uncounted"])
def test_after_a_fast_clock_is_set_right_every_report_counts(
    count: dict[str, Any],
) -> None:
    events = bound().hear(report(60, HOUR, rooted=False, **count), report(120, 0, rooted=True, **count))

    assert [(event["rooted"], event["heard_at"] - T0) for event in events] == [
        (False, 60_000),
        (True, 120_000),
    ]


@pytest.mark.parametrize(("before", "after"), [(14 * HOUR, 0), (0, -20 * 365 * 24 * HOUR)])
def test_a_device_that_starts_again_counts_as_heard_although_its_clock_went_back(before: float, after: float) -> None:
    events = bound().hear(report(600, before), report(1200, after, sequence=0), report(1260, after, sequence=1))

    assert [event["heard_at"] - T0 for event in events] == [600_000, 1_200_000, 1_260_000]


def test_a_clock_set_back_hides_nothing_from_a_device_that_counts() -> None:
    events = bound().hear(report(60, rooted=False), report(120, -2 * HOUR, rooted=True))

    assert [(event["rooted"], event["heard_at"] - T0) for event in events] == [
        (False, 60_000),
        (True, 120_000),
    ]


@pytest.mark.parametrize("ahead", [0, QUARTER_HOUR])
def test_an_old_report_that_is_sent_again_is_no_sign_of_life_and_changes_nothing(ahead: float) -> None:
    device = bound()
    old, new = report(60, ahead, rooted=False)[1], report(120, ahead, rooted=True)
    device.hear((60, old), new)

    again = device.hear((600, old), (700, new[1]))
    (known,) = of(device.play(binding(701, session_id="s-2"), now=T0 + 701_000), topics.SESSION_CONTEXT)
    assert {(event["rooted"], event["heard_at"] - T0) for event in (*again, known)} == {(True, 120_000)}


@pytest.mark.parametrize("ahead", AHEAD)
def test_a_clock_that_always_was_as_wrong_was_set_by_nobody(ahead: float) -> None:
    events = bound().hear(*(report(at, ahead) for at in range(60, 600, 60)))

    assert {tuple(event["signals"]) for event in events} == {()}


@pytest.mark.parametrize(("ahead", "signals"), [(0, []), (300, []), (QUARTER_HOUR, ["clock_tampered"])])
def test_a_clock_that_was_set_ahead_is_a_signal_and_nothing_else(ahead: float, signals: list[str]) -> None:
    events = bound().hear(report(60), report(120, ahead), report(180, ahead))

    assert [event["signals"] for event in events] == [[], signals, signals]


def test_an_attestation_dated_by_a_fast_clock_is_as_old_as_when_it_was_reported() -> None:
    proof = {"attestation": "strong", "attested_at": T0 + (60 + HOUR - 300) * 1000}
    (event,) = bound().hear(report(60, HOUR, **proof))

    assert event["attested_at"] == T0 + (60 - 300) * 1000


def test_a_record_without_a_time_arrived_when_it_was_made_but_not_in_the_future() -> None:
    device = bound()
    records = [
        record(event, at)._replace(timestamp=-1) for at, (_, event) in enumerate([report(60), report(120, HOUR)])
    ]
    events = of(device.take(records[0].topic, records, T0 + 130_000), topics.SESSION_CONTEXT)

    assert [event["heard_at"] - T0 for event in events] == [60_000, 130_000]


def test_a_worker_that_takes_over_knows_the_clock_too() -> None:
    device, other = bound(), Device()
    device.hear(report(60, HOUR, rooted=True), report(120, HOUR))
    other.stage.restore(device.rows.items())
    other.stage.on_restored()

    later = (report(90, HOUR, rooted=False), report(180, HOUR))
    assert other.hear(*later) == device.hear(*later)
    assert other.rows == device.rows


def arriving(*reports: tuple[float, Event]) -> list[InputRecord]:
    """Reports as lines of a recording that says when they arrived."""
    return [
        InputRecord(topics.DEVICE_TELEMETRY, line, encode(event), T0 + round(at * 1000))
        for line, (at, event) in enumerate(reports, start=1)
    ]


@pytest.mark.parametrize("ahead", AHEAD)
def test_no_session_is_silent_because_its_devices_clock_is_wrong(ahead: float) -> None:
    reports = arriving(*(report(at, ahead) for at in range(0, 1200, 60)))
    calls = recorded([auth(1, device_id="phone-1"), *(call(at, device_id="phone-1") for at in range(2, 1200, 20))])
    lines = sorted([*reports, *calls], key=lambda this_record: this_record.occurred_at)

    messages, replay = play(lines, 1)

    sent = read(messages)
    assert replay.dead_letters == 0
    assert {name for name in found(sent) if "silent" in name} == set()
    assert of(sent, topics.SESSION_REVOCATIONS) == []
