"""`session-risk demo`: a live view of attacks that are detected and sessions that are revoked, then the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from time import time
from typing import Any, Final

import click

from pipeline.assembly import configured, options, processor_specs, pseudonymized
from pipeline.commands.worker import worker_config
from pipeline.console import Board, as_json, grid, print_json, screen
from pipeline.control.reloader import ConfigReloader
from pipeline.kafka.changelog import changelog_topic
from pipeline.kafka.client import delete_topics
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.kafka.topics import check_topics, create_topics, needed_topics
from pipeline.offline.scenarios import demo_tokens, playback
from pipeline.offline.scenarios.demo import Report, Script, perform, quantile
from pipeline.offline.scenarios.scenario import Expectation, Scenario, find_directory
from pipeline.processing.processor import ProcessorSpec
from pipeline.settings.loading import Settings, load

SECONDS: Final = 30.0
"""Duration of the stories; their event time is compressed into it."""
AHEAD_MS: Final = 60_000
"""The stories end about this long after the demo begins, as the start of the worker takes seconds, too."""
PRINCIPALS: Final = 60
BEFORE_MS: Final = 20 * 60_000


@click.command("demo", short_help="Watch attacks detected and sessions revoked, without Kafka.")
@click.option("--broker", metavar="HOST:PORT", help="A real Kafka to use; missing topics are created.")
@as_json
def command(*, broker: str | None, as_json: bool) -> int:
    """Play five attacks, their honest twins and a company's traffic to a worker, and watch it decide.

    Nothing else is needed: the broker runs in this process, unless --broker names one. Takes about a minute. Exit
    code 1 if any outcome differs from the expected one.
    """
    logging.basicConfig(level=logging.ERROR)
    with _setting(broker) as (settings, connection, partitions):
        suffix = "" if connection.embedded else f"-{token_hex(2)}"
        reloader = ConfigReloader(configured(settings))
        specs = pseudonymized(settings, processor_specs(reloader.active, options(settings, partitions)))
        played = _script(partitions, suffix)
        with (
            _topics(settings, connection, specs, partitions),
            TemporaryDirectory() as folder,
            Board(_title(connection), screen(err=as_json)) as board,
        ):
            config = replace(worker_config(settings, connection, partitions), data_dir=Path(folder))
            report = asyncio.run(perform(config, specs, played, board))
    wrong = [sentence for story in played.stories for sentence in report.endings.wrong(story)]
    tokens = demo_tokens.tokens_by_story(report, played.stories, int(time() * 1000))
    if as_json:
        fields = {"tokens": demo_tokens.plain(tokens), "wrong": wrong}
        print_json({**_figures(report), "model": reloader.active.detector.id, **fields})
    else:
        _show(report, played, tokens, wrong)
    return 1 if wrong else 0


@contextmanager
def _setting(broker: str | None) -> Iterator[tuple[Settings, Connection, int]]:
    """Yield settings, connection and partition count, of an embedded broker or of *broker*."""
    if broker is not None:
        settings = load(broker=broker, embedded=False, app_id=f"session-risk-demo-{token_hex(4)}")
        yield settings, Connection.of(settings), settings.partitions
        return
    with EmbeddedBroker() as embedded:
        settings = load(broker=embedded.bootstrap, embedded=True, app_id="session-risk-demo")
        yield settings, Connection.of(settings), PARTITIONS


def _title(connection: Connection) -> str:
    where = "the embedded broker" if connection.embedded else connection.bootstrap
    return f"session-risk on {where}: a worker starts, then the stories are played in {SECONDS:.0f} s"


def _script(partitions: int, suffix: str) -> Script:
    end = int(time() * 1000) + AHEAD_MS
    stories = playback.stories(find_directory(), end, suffix)
    begin = min(event["occurred_at"] for story in stories for _, event in story.events)
    honest = playback.honest(PRINCIPALS, end - begin + BEFORE_MS, end, suffix=suffix)
    before = [timed for timed in honest if timed[1]["occurred_at"] < begin]
    rows = [timed for story in stories for timed in story.events]
    steady = playback.steady(partitions, begin, end, suffix)
    return Script(before, playback.in_order([*honest[len(before) :], *rows, *steady]), stories, SECONDS)


@contextmanager
def _topics(
    settings: Settings, connection: Connection, specs: Sequence[ProcessorSpec], partitions: int
) -> Iterator[None]:
    """Create missing topics; afterwards delete the state of the demo's worker from a real Kafka."""
    topics = needed_topics(settings.app_id, [spec.name for spec in specs], partitions)
    if connection.embedded:
        asyncio.run(check_topics(connection, topics))
        yield
        return
    asyncio.run(create_topics(connection, topics, settings.replication_factor))
    try:
        asyncio.run(check_topics(connection, topics))
        yield
    finally:
        state = [changelog_topic(settings.app_id, spec.name) for spec in specs]
        asyncio.run(delete_topics(connection, state))


def _figures(report: Report) -> dict[str, Any]:
    latencies = report.latencies()
    return {
        "events": report.events,
        "events_per_second": round(report.events / max(report.seconds, 0.001)),
        "dead_letters": report.dead_letters,
        "revocations": len(report.endings.revocation_ids),
        "commands": len(report.commanded_at),
        "commands_caused_by_an_event": len(latencies),
        "event_to_command_ms": {
            "p50": round(quantile(latencies, 0.5), 1),
            "p99": round(quantile(latencies, 0.99), 1),
        }
        if latencies
        else None,
    }


def _show(report: Report, played: Script, tokens: demo_tokens.TokensByStory, wrong: list[str]) -> None:
    console = screen()
    figures = _figures(report)
    took = figures["event_to_command_ms"]
    rows = [
        ("events", f"{figures['events']:,}"),
        ("events a second", f"{figures['events_per_second']:,} at the pace of the stories"),
        ("dead letters", figures["dead_letters"]),
        ("revocations", figures["revocations"]),
        (
            "event to command",
            f"p50 {took['p50']:.0f} ms, p99 {took['p99']:.0f} ms" if took else "no event caused one",
        ),
    ]
    console.print()
    console.print(grid("", "", rows=rows))
    console.print()
    demo_tokens.show(console, tokens)
    console.print(grid("", "story", "expected", "what happened", rows=_endings(report, played.stories)))
    console.print()
    for sentence in wrong:
        console.print(f"✘ {sentence}")
    twins = sum(story.twin for story in played.stories)
    if not wrong:
        console.print(f"✔ all {len(played.stories)} stories, {twins} of them honest twins, ended as expected")


def _endings(report: Report, stories: Sequence[Scenario]) -> Iterator[tuple[str, str, str, str]]:
    for story in stories:
        mark = "✘" if report.endings.wrong(story) else "✔"
        title = f"{story.story}{', twin' if story.twin else ''}: {story.title}"
        for name in _interesting(story):
            expected = story.expect[name]
            yield mark, title, f"{expected.level} {expected.action}", f"{name}: {report.endings.of(name)}"
            mark = title = ""


def _interesting(story: Scenario) -> list[str]:
    """The sessions with an expected outcome other than LOW; in a twin, its main session."""
    lines = [name for name, expected in story.expect.items() if expected != Expectation("LOW", "allow")]
    return lines or [next(iter(story.expect))]
