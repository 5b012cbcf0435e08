"""The recording that faults are tried with ends as it must, and outcomes are judged rightly."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.processing.processor import InMemoryRecord
from schemas.decode import encode
from schemas.topics import DEAD_LETTERS, SESSION_FEATURES, SESSION_REVOCATIONS, SESSION_RISK
from tests.faults.known import KINDS, POLICY, Known, known
from tests.faults.outcome import Wrong, judged

START = 1_772_409_600_000


@pytest.fixture(scope="module", params=[1, 2, 3])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Known:
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    return known(request.param, START, "-s", policy)


def test_every_session_ends_as_its_kind_must(recording: Known) -> None:
    ends = {
        (kind, (recording.endings.of(name).final_level, recording.endings.of(name).action))
        for name, kind in recording.sessions.items()
    }
    assert ends == set(KINDS.items())


def _outputs(recording: Known) -> list[InMemoryRecord]:
    rows: list[tuple[str, dict[str, Any]]] = [
        (SESSION_REVOCATIONS, {"session_id": "", "revocation_id": this_name})
        for this_name in sorted(recording.endings.revocation_ids)
    ]
    rows += [
        (SESSION_RISK, {"session_id": name, "decision_id": name, "level": level, "action": "allow", "reasons": []})
        for name in recording.sessions
        if (level := recording.endings.of(name).final_level) != "LOW"
    ]
    rows += [
        (SESSION_FEATURES, {"event_id": this_name, "values": {"calls_1h": count}})
        for this_name, count in recording.counted.items()
    ]
    return [_record(topic, fields) for topic, fields in rows]


def _record(topic: str, received: dict[str, Any]) -> InMemoryRecord:
    return InMemoryRecord(topic, 0, 0, START, None, encode(received))


def test_nothing_is_wrong_with_what_must_come_and_repeats_are_only_counted(recording: Known) -> None:
    outputs = _outputs(recording)

    assert judged(recording, outputs, ()) == (Wrong(), 0)
    assert judged(recording, [*outputs, outputs[0], outputs[-1]], ()) == (Wrong(), 2)


def test_each_thing_that_is_wrong_is_counted(recording: Known) -> None:
    outputs = _outputs(recording)
    first = {topic: next(output for output in outputs if output.topic == topic) for topic in {o.topic for o in outputs}}

    def without(topic: str) -> list[InMemoryRecord]:
        return [output for output in outputs if output is not first[topic]]

    strange = _record(SESSION_REVOCATIONS, {"session_id": "", "revocation_id": "strange"})
    (lost, count), *_ = recording.counted.items()
    twice = _record(SESSION_FEATURES, {"event_id": lost, "values": {"calls_1h": count + 1}})
    letter = _record(DEAD_LETTERS, {"topic": "api-calls", "partition": 3, "offset": 7, "reason": "x"})
    assert {
        "a level that was not reached": judged(recording, without(SESSION_RISK), ())[0],
        "a revocation that is missing": judged(recording, without(SESSION_REVOCATIONS), ())[0],
        "a revocation that should not be": judged(recording, [*outputs, strange], ())[0],
        "an event that was lost": judged(recording, without(SESSION_FEATURES), ())[0],
        "an event that was counted twice": judged(recording, [*outputs, twice], ())[0],
        "a dead letter that should not be": judged(recording, [*outputs, letter], ())[0],
        "a dead letter that is missing": judged(recording, outputs, [("api-calls", 3, 7)])[0],
        "a dead letter that must be": judged(recording, [*outputs, letter], [("api-calls", 3, 7)])[0],
    } == {
        "a level that was not reached": Wrong(levels=1),
        "a revocation that is missing": Wrong(missing=1),
        "a revocation that should not be": Wrong(surplus=1),
        "an event that was lost": Wrong(miscounted=1),
        "an event that was counted twice": Wrong(miscounted=1),
        "a dead letter that should not be": Wrong(unread=1),
        "a dead letter that is missing": Wrong(unburied=1),
        "a dead letter that must be": Wrong(),
    }
