"""Everything that the session processor counts has a metric with the same labels."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from prometheus_client import CollectorRegistry

from pipeline.metrics.worker import METRICS, Metrics
from pipeline.sessions.processor import Options
from tests.support.event_streams import BUSY, CUTS, STREAMS, OddTotals
from tests.support.run_processors import Desk, Event, chunks
from tests.support.samples import T0, ack, auth, call, context


@given(events=STREAMS, cuts=CUTS)
@settings(max_examples=60)
def test_whatever_is_counted_has_a_metric_with_these_labels(events: list[Event], cuts: set[int]) -> None:
    desk = Desk(BUSY, OddTotals(), Options(max_sessions=2))
    for chunk in chunks(events, cuts):
        desk.play(*chunk)
    desk.play(ack(500, outcome="failed"), ack(501))

    metrics = Metrics(CollectorRegistry())
    for (field, *labels), number in desk.counts.items():
        known = list(METRICS[f"session_risk_{_name(field)}"].labels.values())
        assert len(labels) == len(known), field
        assert [label for label, values in zip(labels, known, strict=True) if values and label not in values] == []
        metrics.count(field, *labels, by=number)


def _name(field: str) -> str:
    row: Any = vars(Metrics)[field]
    return str(row.name).removeprefix("session_risk_")


def test_a_challenge_is_counted_as_sent_passed_or_missed() -> None:
    moved = context(1, source="principal", known_asn=False)
    desk_of_one = Desk()
    desk_of_one.each(auth(0, asn=1), call(0, asn=2), moved, auth(30, action="step_up_passed"))
    two = Desk()
    two.each(auth(0, asn=1), call(0, asn=2), moved, call(100, asn=2))
    two.each(*(call(at, session_id="ben") for at in range(100, 400, 20)))
    three = Desk()
    three.each(auth(0, device_id="p"), context(0, heard_at=T0, heartbeat_interval_ms=5_000))
    three.each(*(call(at, session_id="ben") for at in range(0, 60, 10)), context(60, heard_at=T0 + 60_000))

    counted = [
        {labels[1]: count for labels, count in desk.counts.items() if labels[0] == "challenges"}
        for desk in (desk_of_one, two, three)
    ]
    assert counted == [{"sent": 1, "passed": 1}, {"sent": 1, "missed": 1}, {}]
