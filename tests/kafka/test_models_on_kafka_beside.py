"""Beside what a model decides, on Apache Kafka: what a challenger would, and how far traffic has moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from models.artefacts import load, load_roles, pack
from models.detectors.drift import LARGE, MODERATE, SCORE, Reference
from models.events.batch import Kind
from models.features.table import FEATURE_NAMES
from models.model_card import REFERENCE
from models.state.table import SessionTable
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.offline.replay.recording import InputRecord
from pipeline.offline.replay.runner import Replay
from pipeline.offline.scenarios.demo import WINDOW_MS
from pipeline.offline.scenarios.outcomes import Endings
from pipeline.offline.scenarios.playback import Timed, honest, in_order, stories
from pipeline.offline.scenarios.scenario import Scenario, find_directory
from pipeline.sessions.fast_path import ScoredChunk
from pipeline.sessions.processor import Options
from schemas.decode import encode
from schemas.topics import API_CALLS, SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK, SESSION_SHADOW
from tests.support.model_workers import DEFAULT, ODD, Fleet, apart, ended_in_order, its_roles, now, put
from tests.support.samples import T0, UNASKED, call

pytestmark = pytest.mark.kafka

POLICY = f"""
low_features_share = 0.0
anomaly_weights = [0.0, 0.0, 9.0]
{UNASKED}[detections.tor_network]
weight = 5.6
"""
"""Of what a challenger says, where it differs and no sample; the highest band alone revokes."""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One worker, by the model calm."""
    fleet = Fleet(tmp_path_factory.mktemp("one"), POLICY)
    fleet.begin()
    yield from ended_in_order(fleet)


@pytest.fixture
def fleet(one: Fleet) -> Iterator[Fleet]:
    yield one
    one.take_back()


# --- Looking on -------------------------------------------------------------------------------------------


def test_a_challenger_with_other_roles_is_heard_on_its_own_topic_and_commands_nothing(fleet: Fleet) -> None:
    name, suffix = f"odd-{fleet.name}", f"-{uuid4().hex[:8]}"
    odd = put(fleet.models / name, ODD)  # without roles: no call is one that it does not know
    fleet.order("shadow", name)
    fleet.run_by({fleet.calm_id: "champion", odd: "challenger"})
    scenarios = _stories(suffix, "a-phone-jailbroken", "d-network-moved-step-up-passed")

    fleet.play(*apart((timed for story in scenarios for timed in story.events), WINDOW_MS))

    endings = Endings()
    decisions = fleet.received(suffix, SESSION_RISK)
    commands = [*fleet.received(suffix, SESSION_REVOCATIONS), *fleet.received(suffix, SESSION_CHALLENGES)]
    for record in fleet.output(suffix, SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
        endings.take(record.topic, record.value or b"")
    moved = next(session for session in scenarios[1].expect if session.startswith("ana-d"))
    # The story ends like that with the weights that ship; here Tor weighs less.
    assert [sentence for story in scenarios for sentence in endings.wrong(story)] == [
        f"{scenarios[1].name}, {moved}: reached MEDIUM, not HIGH"
    ]
    assert {decision["model"] for decision in decisions} == {fleet.calm_id}
    assert {command["decision_id"] for command in commands} <= {
        this_decision["decision_id"] for this_decision in decisions
    }
    rows = [_opinions(fields) for fields in fleet.received(suffix, SESSION_SHADOW) if fields["session_id"] == moved]
    # What it would do stays the same when the step-up is passed: that is told once.
    assert [opinions for opinions, _ in groupby(rows)] == [(True, fleet.calm_id, "step_up", odd, "revoke")]


def _opinions(shadow: dict[str, Any]) -> tuple[bool, str, str, str, str]:
    champion, challenger = shadow["champion"], shadow["challenger"]
    opinions = champion["model"], champion["action"], challenger["model"], challenger["action"]
    return (shadow["differs"], *opinions)


def _stories(suffix: str, *names: str) -> list[Scenario]:
    """The stories of these names, in that order, ending now, with ids that end in *suffix*."""
    by_key = {story.name: story for story in stories(find_directory(), now(), suffix)}
    return [by_key[name] for name in names]


# --- Drifted from -----------------------------------------------------------------------------------------

VOLUMES = ("calls_1m", "records_10m", "sensitive_records_10m")
HONEST = (60, 3_600_000)
"""So many people, and ms of their work, are what is normal."""


def test_drift_is_small_while_traffic_is_what_the_model_knows_and_large_when_it_is_not(fleet: Fleet) -> None:
    (worker,), usual = fleet.workers, in_order(honest(*HONEST, T0))
    name = f"learned-{fleet.name}"
    learned = put(fleet.models / name, 0.0, {**its_roles(), REFERENCE: _reference(usual)})
    assert worker.drift() == {}
    fleet.order("promote", name)
    fleet.run_by({learned: "champion"})

    fleet.play(*apart(usual, 60_000))
    worker.turn()
    known = worker.drift()
    fleet.play(_bulk_reads())
    worker.turn()
    moved = worker.drift()

    assert {name: known[name] < MODERATE for name in VOLUMES} == dict.fromkeys(VOLUMES, True), known
    assert {name: moved[name] >= LARGE for name in VOLUMES} == dict.fromkeys(VOLUMES, True), moved
    assert known[SCORE] < LARGE <= moved[SCORE]


def _reference(events: list[Timed]) -> bytes:
    """What the default model's first stage sees in *events*, as the bins of its training data."""
    values: list[NDArray[np.float64]] = []
    scores: list[NDArray[np.float64]] = []

    def look(table: SessionTable, looked: ScoredChunk) -> None:
        if looked.folded.batch.kind is not Kind.TICK:
            values.append(looked.folded.values.T)
            scores.append(looked.score)

    first_stage = replace(load(DEFAULT), second=None, second_knots=None)  # as `put` leaves it
    active = ActiveConfig(detector=first_stage, roles=load_roles(DEFAULT))
    records = [
        InputRecord(topic, line, encode(event), event["occurred_at"]) for line, (topic, event) in enumerate(events, 1)
    ]
    for _ in Replay(processor_specs(active, Options(onlooker=look)), 1).run(records):
        pass
    return pack(Reference.from_rows(FEATURE_NAMES, np.concatenate(values), np.concatenate(scores)).arrays)


def _bulk_reads() -> list[Timed]:
    """Bulk reads of a new service, many a second: what nobody did before."""
    subject = {"principal_kind": "service", "principal_id": "reader", "session_id": "reader"}
    what = {"operation": "GET /customers/{id}", "records": 500, "sensitivity": "restricted"}
    return [(API_CALLS, call(at=number / 100, **subject, **what, event_id=f"bulk-{number}")) for number in range(2_000)]
