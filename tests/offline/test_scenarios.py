"""Every story ends as it says: replayed, and sent through Faust, with the same revocations.

Through Faust all stories are played at once to one worker, as fast as it goes, on the embedded broker; where
marked `kafka`, on Apache Kafka.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from models.artefacts import SHIPPED, load, load_roles
from pipeline.assembly import processor_specs
from pipeline.cli import main
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import fitted, parse_policy
from pipeline.kafka.app import WorkerConfig
from pipeline.kafka.connection import Connection
from pipeline.kafka.embedded import PARTITIONS, EmbeddedBroker
from pipeline.kafka.topics import check_topics, create_topics, needed_topics
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.offline.scenarios.demo import Report, Script, perform
from pipeline.offline.scenarios.outcomes import Ending, Endings, disagreements
from pipeline.offline.scenarios.playback import Timed, in_order, steady, stories
from pipeline.offline.scenarios.scenario import Expectation, Scenario, find_directory
from pipeline.sessions.processor import Options
from schemas.decode import encode

STORIES = stories(find_directory(), 1_772_409_600_000)


NO_BUDGET = "[budget]\nraise_by = 0\n"
"""What people answered weighs in their tenant's sessions of one partition: so more partitions learn it more slowly, and
two stories that are played at once may do so in either order."""


def shipped(changes: str = "") -> ActiveConfig:
    """The model and the policy that ship, with *changes* to the policy."""
    active = ActiveConfig(detector=load(SHIPPED / "default"), roles=load_roles(SHIPPED / "default"))
    active.use_policy(parse_policy(changes, defaults=fitted()))
    return active


def _replayed(events: Sequence[Timed], partitions: int, policy: str = "") -> Endings:
    replay = Replay(processor_specs(shipped(policy), Options(partitions)), partitions)
    endings = Endings()
    records = (
        InputRecord(topic, line, encode(event), event["occurred_at"])
        for line, (topic, event) in enumerate(events, start=1)
    )
    for message in replay.run(records):
        endings.take(message.topic, message.value)
    assert replay.dead_letters == 0
    return endings


@pytest.fixture(scope="module")
def endings() -> Endings:
    return _replayed(_all_of(STORIES, 4), 4)


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_a_replayed_story_ends_as_expected(story: Scenario, endings: Endings) -> None:
    assert endings.wrong(story) == []


def test_how_many_partitions_there_are_makes_no_difference_beyond_the_step_up_budget() -> None:
    one, four = (_replayed(_all_of(STORIES, count), count, NO_BUDGET).revocation_ids for count in (1, 4))

    assert one == four != set()


def test_through_faust_every_story_ends_as_expected_with_the_revocations_of_a_replay(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap, embedded=True)
        _agrees_with_replay(connection, f"stories-{uuid4().hex[:8]}", PARTITIONS, tmp_path)


@pytest.mark.kafka
def test_on_apache_kafka_too(tmp_path: Path) -> None:
    connection = Connection(os.environ["SESSION_RISK_BROKER"])
    _agrees_with_replay(connection, f"stories-{uuid4().hex[:8]}", 8, tmp_path)


@pytest.mark.kafka
def test_the_demonstration_ends_well_on_apache_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = os.environ["SESSION_RISK_BROKER"]
    monkeypatch.setattr("pipeline.commands.demo.SECONDS", 4.0)

    done = CliRunner().invoke(main, ["demo", "--broker", broker, "--json"])

    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert (figures["wrong"], figures["dead_letters"]) == ([], 0)


def _agrees_with_replay(connection: Connection, app_id: str, partitions: int, folder: Path) -> None:
    scenarios = stories(find_directory(), int(time() * 1000), f"-{app_id[-8:]}")
    events = _all_of(scenarios, partitions, f"-{app_id[-8:]}")
    config = WorkerConfig(connection, app_id, partitions, data_dir=folder)

    report = asyncio.run(_streamed(config, Script((), events, scenarios, seconds=0.0)))

    assert [sentence for story in scenarios for sentence in report.endings.wrong(story)] == []
    assert report.endings.revocation_ids == _replayed(events, partitions, NO_BUDGET).revocation_ids
    assert report.dead_letters == 0


async def _streamed(config: WorkerConfig, script: Script) -> Report:
    kinds = processor_specs(shipped(NO_BUDGET), Options(config.partitions))
    topics = needed_topics(config.app_id, [kind.name for kind in kinds], config.partitions)
    if not config.connection.embedded:
        await create_topics(config.connection, topics, 1)
    await check_topics(config.connection, topics)
    return await perform(config, kinds, script, _Nobody())


class _Nobody:
    """An audience that looks away."""

    def decided(self, decision: Any) -> None: ...

    def status(self, text: str) -> None: ...


def _all_of(scenarios: Sequence[Scenario], partitions: int, suffix: str = "") -> list[Timed]:
    """All stories at once, and time that goes on in every partition."""
    events = [timed for story in scenarios for timed in story.events]
    begin, end = (pick(event["occurred_at"] for _, event in events) for pick in (min, max))
    until = max(end, *(story.play_until for story in scenarios))
    return in_order([*events, *steady(partitions, begin, until, suffix)])


# --- What an ending is ---

FALLEN = Ending("HIGH", "revoke", {"device_rooted"}, "HIGH")


@pytest.mark.parametrize(
    ("expected", "ending", "sentences"),
    [
        (Expectation("LOW", "allow"), Ending(), []),
        (Expectation("HIGH", "revoke", ("device_rooted",)), FALLEN, []),
        (Expectation("HIGH", "revoke", (), "HIGH"), FALLEN, []),
        (
            Expectation("LOW", "allow"),
            FALLEN,
            ["reached HIGH, not LOW", "revoke was commanded, not allow"],
        ),
        (
            Expectation("HIGH", "revoke", ("mass_read",), "LOW"),
            FALLEN,
            ["mass_read was not among the reasons: device_rooted", "ended at HIGH, not LOW"],
        ),
    ],
)
def test_an_ending_is_held_against_what_is_expected(
    expected: Expectation, ending: Ending, sentences: list[str]
) -> None:
    assert list(disagreements(expected, ending)) == sentences


def test_the_highest_level_counts_and_the_strongest_command_and_only_reasons_that_count() -> None:
    endings = Endings()
    for level, reason, weight in (("MEDIUM", "a", 4.0), ("HIGH", "b", 6.0), ("LOW", "c", 0.0)):
        reasons = [{"detection": reason, "contribution": weight}]
        endings.take("session-risk", encode({"session_id": "s", "level": level, "action": "allow", "reasons": reasons}))
    endings.take("session-revocations", encode({"session_id": "s", "revocation_id": "r"}))
    endings.take("session-challenges", encode({"session_id": "s", "challenge_id": "c"}))
    endings.take("session-features", b"{}")

    assert endings.of("s") == Ending("HIGH", "revoke", {"a", "b"}, "LOW")
    assert (str(endings.of("s")), str(endings.of("t"))) == ("HIGH revoke, then LOW (a, b)", "left alone")
    assert endings.revocation_ids == {"r"}


def test_what_waits_for_approval_is_the_ending_of_a_session_that_got_no_command() -> None:
    endings = Endings()
    for session_id, action in (("k", "hold_for_approval"), ("k", "allow"), ("s", "hold_for_approval")):
        record = {"session_id": session_id, "level": "HIGH", "action": action, "reasons": []}
        endings.take("session-risk", encode(record))
    endings.take("session-revocations", encode({"session_id": "s", "revocation_id": "r"}))

    assert [endings.of(name).action for name in "ks"] == ["hold_for_approval", "revoke"]
