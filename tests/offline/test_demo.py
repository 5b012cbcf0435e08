"""The demo: its exit code reflects the outcome of all stories, and its figures are what it measured."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from pipeline import console
from pipeline.cli import main
from pipeline.commands import demo
from pipeline.kafka.app import WorkerConfig
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.kafka.partitioner import partition_of
from pipeline.offline.docs.pictures import excerpt
from pipeline.offline.scenarios import playback
from pipeline.offline.scenarios.demo import DemoError, Report, Script, perform, quantile
from pipeline.offline.scenarios.scenario import Expectation, Scenario, find_directory
from pipeline.processing.processor import Outcome, ProcessorSpec, Record
from schemas.events import EVENT_TYPES
from schemas.topics import TOPICS
from tests.docs.test_readme import picture_lines
from tests.support.counting_processor import SOURCES, Counting

NOW = 1_772_409_600_000
MINUTE = 60_000


def test_the_demonstration_plays_every_story_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SECONDS", 4.0)
    monkeypatch.setattr(demo, "PRINCIPALS", 8)

    done = CliRunner().invoke(main, ["demo"])

    assert done.exit_code == 0, done.output
    scenarios = playback.stories(find_directory(), NOW)
    twins = sum(story.twin for story in scenarios)
    assert f"✔ all {len(scenarios)} stories, {twins} of them honest twins, ended as expected" in done.stdout
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines.count("dead letters 0") == 1
    for part in ("ana-a1 HIGH revoke device_rooted", "events a second", "event to command p50"):
        assert any(part in line for line in lines), part
    assert max(map(len, done.stdout.splitlines())) <= console.WIDTH
    assert _conclusions(picture_lines()) == _conclusions(excerpt(done.stdout)), (
        "run `python -m pipeline.offline.docs.pictures`"
    )


def _conclusions(lines: list[str]) -> set[str]:
    """What is the same each time in *lines*: who reached which level, the tokens, the last line; no times, no order.

    What a company's traffic beside the stories looks like depends on how long it is played.
    """
    decisions = {" ".join(line.split()[1:5]).rstrip(",…") for line in lines if re.match(r"\d\d:\d\d:\d\d (?!s-)", line)}
    return decisions | {" ".join(line.split()) for line in lines if line.startswith("✔")}


# --- What goes wrong ---


class _Nobody:
    """An viewer that looks away."""

    def decided(self, decision: Any) -> None: ...

    def status(self, text: str) -> None: ...


class Broken(Counting):
    """Cannot process anything."""

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        raise ValueError("a stage that cannot go on")


def test_a_worker_that_ends_ends_the_demonstration(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap, embedded=True)
        broker.create([*TOPICS, *SOURCES, "demo-counting-state-changelog"])
        config = WorkerConfig(connection, "demo", PARTITIONS, data_dir=tmp_path)
        kinds = [ProcessorSpec("counting", ("api-calls",), Broken)]
        calls = list(playback.steady(PARTITIONS, NOW, NOW + MINUTE))

        with pytest.raises(DemoError, match="the worker ended: ValueError"):
            asyncio.run(perform(config, kinds, Script((), calls, (), 0.0), _Nobody()))


def test_an_unexpected_ending_is_reported_and_the_exit_code_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Scenario("a-theft", "A theft", "a", "", False, [], {"s": Expectation("HIGH", "revoke")}, NOW)
    report = Report(events=1, seconds=0.5)

    async def performed(*_: Any) -> Report:
        return report

    monkeypatch.setattr(demo, "perform", performed)
    monkeypatch.setattr(demo, "_script", lambda *_: Script((), (), [story], 1.0))

    shown, result = (CliRunner().invoke(main, ["demo", *options]) for options in ((), ("--json",)))

    assert (shown.exit_code, result.exit_code) == (1, 1)
    assert "✘ a-theft, s: reached LOW, not HIGH" in shown.stdout
    assert json.loads(result.stdout) == {
        "events": 1,
        "events_per_second": 2,
        "dead_letters": 0,
        "revocations": 0,
        "commands": 0,
        "commands_caused_by_an_event": 0,
        "event_to_command_ms": None,
        "model": json.loads(result.stdout)["model"],
        "tokens": [],
        "wrong": [
            "a-theft, s: reached LOW, not HIGH",
            "a-theft, s: allow was commanded, not revoke",
        ],
    }


# --- What is measured ---


def test_the_time_to_a_command_is_that_from_the_event_that_caused_it() -> None:
    report = Report(
        sent_at={"e1": 1_000.0, "e2": 2_000.0},
        caused_by={"d1": "e2", "d2": "e1~d", "d3": "sweep:7"},
        commanded_at={"d1": 2_030.0, "d2": 1_010.0, "d3": 9_000.0, "unknown": 9_000.0},
    )

    assert report.latencies() == [10.0, 30.0]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 2), (0.75, 3), (0.76, 4), (0.99, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_seen(share: float, value: int) -> None:
    assert quantile([1, 2, 3, 4], share) == value


# --- What is played ---


def test_everything_played_is_valid_in_order_and_ends_at_one_moment() -> None:
    scenarios = playback.stories(find_directory(), NOW)
    events = playback.in_order(
        [
            *(timed for story in scenarios for timed in story.events),
            *playback.honest(10, 5 * MINUTE, NOW, suffix="-x"),
            *playback.steady(3, NOW - 5 * MINUTE, NOW),
        ]
    )

    times = [event["occurred_at"] for _, event in events]
    assert times == sorted(times)
    assert NOW - 10_000 < times[-1] <= NOW
    assert {story.play_until for story in scenarios} == {NOW}
    for topic, event in events:
        assert isinstance(EVENT_TYPES[event["type"]].model_validate(event), TOPICS[topic].model)
    ids = [event["event_id"] for _, event in events]
    assert len(ids) == len(set(ids))


def test_stories_played_at_once_share_no_session_and_no_device() -> None:
    scenarios = playback.stories(find_directory(), NOW, "-x")

    for name in ("session_id", "device_id", "principal_id"):
        owners = [{event[name] for _, event in story.events if event.get(name)} for story in scenarios]
        assert sum(map(len, owners)) == len(set().union(*owners))


@pytest.mark.parametrize("partitions", [1, 4, 7])
def test_a_steady_session_lives_in_every_partition(partitions: int) -> None:
    events = [event for _, event in playback.steady(partitions, NOW, NOW + MINUTE, "-x")]
    calls = [event for event in events if event["type"] == "api.call"]
    reports = [event["device_id"] for event in events if event["type"] == "device.telemetry"]

    lands = {event["session_id"]: partition_of(event["session_id"].encode(), partitions) for event in calls}
    assert sorted(lands.values()) == list(range(partitions))
    assert len(calls) == partitions * 13
    assert sorted(reports) == sorted(2 * list(lands))


def test_honest_traffic_is_moved_with_all_its_times_and_named_anew() -> None:
    here, later = playback.honest(5, MINUTE, NOW), playback.honest(5, MINUTE, NOW + 7, suffix="-x")

    assert here
    for (topic, event), (topic_later, moved) in zip(here, later, strict=True):
        assert topic == topic_later
        for name in ("occurred_at", "attested_at"):
            if event.get(name) is not None:
                assert moved[name] == event[name] + 7
        assert moved["event_id"] == event["event_id"] + "-x"


# --- What is shown ---


def _decision(**overrides: Any) -> dict[str, Any]:
    reason = {"detection": "mass_read", "contribution": 6.0, "evidence": ["e-1", "e-2"]}
    trust = {"detection": "fresh_strong_auth", "contribution": -0.5}
    fields = {"occurred_at": NOW, "session_id": "s", "level": "HIGH", "action": "revoke"}
    return {**fields, "reasons": [reason, trust], **overrides}


def test_a_decision_is_shown_with_what_counted_against_the_session() -> None:
    assert console.decision_row(_decision()) == ("00:00:00", "s", "HIGH", "revoke", "mass_read", "e-2 +1")
    long = _decision(reasons=[{"detection": "mass_read", "contribution": 6.0, "evidence": ["x" * 60 + "-7"]}])
    assert console.decision_row(long)[5] == "…" + "x" * 21 + "-7"
    cleared = _decision(level="LOW", action="allow", reasons=[])
    assert console.decision_row(cleared)[2:] == ("LOW", "allow", "nothing any more", "–")


@pytest.mark.parametrize("terminal", [True, False], ids=["on a terminal", "in a file"])
def test_decisions_fit_a_hundred_columns_however_long_the_names(terminal: bool) -> None:
    shown = io.StringIO()
    screen = Console(file=shown, width=100, force_terminal=terminal, highlight=False, color_system=None)

    with console.Board("title", screen) as board:
        for number in range(console.ROWS + 5):
            board.status(f"{number} done " + "x" * 50)
            board.decided(_decision(session_id=f"{number}-" + "x" * 120, occurred_at=NOW + number))

    text = shown.getvalue().replace("\x1b[2K", "").replace("\x1b[1A", "")
    lines = [line.rstrip() for line in text.split("\x1b[?25l")[-1].splitlines()]
    assert max(map(len, lines)) <= 100
    assert any(f"{console.ROWS + 4}-xxxx" in line and "mass_read" in line for line in lines)
