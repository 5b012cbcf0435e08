"""The table of detections: every column of every row is filled in, and agrees with the others."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import numpy as np
import pytest

from models.events.columns import Columns
from models.events.context_signals import SIGNAL_BIT
from models.features.table import FEATURE_NAMES
from models.state.segments import segments
from models.state.table import SessionTable
from models.updates.fold import fold
from pipeline.detections import (
    BIT,
    DETECTION_IDS,
    DETECTIONS,
    MASK_WORDS,
    STEP_UP_MISSED,
    Detection,
    firing,
)
from pipeline.detections.detection import Prefilter
from pipeline.detections.mask import as_int
from schemas.topics import TOPICS
from tests.support.run_processors import Event, topic_of
from tests.support.samples import auth, call, context, feedback


def test_ids_are_unique_and_fit_into_a_row() -> None:
    assert {rule.id: index for index, rule in enumerate(DETECTIONS)} == BIT
    assert len(BIT) == len(DETECTIONS) <= 64 * MASK_WORDS
    assert [rule_id for rule_id in DETECTION_IDS if not re.fullmatch(r"[a-z]+(_[a-z]+)*", rule_id)] == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_is_described_in_sentences(rule: Detection) -> None:
    for sentence in (rule.text, rule.user_text):
        assert re.fullmatch(r"[A-Z][^\n]*\.", sentence)
        assert 20 < len(sentence) <= 120
        assert rule.id not in sentence
    assert rule.normal
    assert rule.known_false_positives
    assert rule.observed[1]
    assert re.fullmatch(r"[A-Z][^\n]*\.", rule.clearing)


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_names_the_input_fields_without_which_it_cannot_fire(rule: Detection) -> None:
    inputs = [topic for topic in TOPICS.values() if topic.direction in ("input", "control")]
    fields = {f"{topic.name}.{field}" for topic in inputs for field in topic.model.model_fields}

    assert rule.needs
    assert len(set(rule.needs)) == len(rule.needs)
    assert sorted(set(rule.needs) - fields) == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_refers_to_sections_that_can_be_looked_up(rule: Detection) -> None:
    sections = (
        r"NIST CSF 2\.0 (GV|ID|PR|DE|RS|RC)\.[A-Z]{2}-\d\d|NIST SP 800-207 §2\.1 tenet [1-7]"
        r"|NHI(10|[1-9]):2025|RFC \d{4} §[\d.]+"
    )

    assert rule.references
    assert [reference for reference in rule.references if not re.fullmatch(sections, reference)] == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_rests_on_a_signal_or_on_a_condition(rule: Detection) -> None:
    if rule.id == STEP_UP_MISSED:
        assert not (rule.signal)
        assert not (rule.holds)
        assert not (rule.prefilter)
    elif rule.signal:
        assert rule.signal in SIGNAL_BIT
        assert not (rule.holds)
        assert not (rule.prefilter)
    else:
        assert rule.holds
        assert rule.prefilter


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_step_up_keeps_cleared_only_what_it_clears(rule: Detection) -> None:
    assert rule.cleared_for_s >= 0
    assert rule.cleared_by_step_up or not rule.cleared_for_s


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_fleet_may_follow_only_what_a_context_can_take_back(rule: Detection) -> None:
    assert rule.signal or not rule.fleet_may_follow


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_the_limits_of_a_detection_are_positive_and_what_it_calls_normal_names_no_others(rule: Detection) -> None:
    named = {name for _, name, _, _ in Formatter().parse(rule.normal) if name}

    assert [name for name, limit in rule.limits.items() if limit <= 0] == []
    assert sorted(named - set(rule.limits)) == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_weighs_what_its_severity_says(rule: Detection) -> None:
    least = {"LOW": 0.0, "MEDIUM": 3.6, "HIGH": 5.4}

    assert rule.weight >= least[rule.severity]
    assert rule.severity == "HIGH" or rule.weight < least["HIGH"]
    assert rule.hold_s >= 0


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_what_is_normal_is_shown_with_the_limits_in_force(rule: Detection) -> None:
    normal = rule.normal.format(**rule.limits)

    assert "{" not in normal
    assert len(normal) <= 256


def _facts(events: list[Event]) -> dict[str, Any]:
    columns = Columns(bytes(16))
    make = {
        "auth-events": columns.auths,
        "api-calls": columns.calls,
        "session-context": columns.contexts,
        "session-feedback": columns.verdicts,
    }
    batch = make[topic_of(events[0])](events)
    return fold(SessionTable(), segments(np.zeros(len(events), np.int64)), batch).facts


def _facts_named_by(rule: Detection) -> set[str]:
    prefilters = [fact for prefilter in rule.prefilter for fact in _names_of(prefilter)]
    return {rule.observed[0], rule.usual_fact, rule.role_usual_fact, *prefilters} - {""}


def _names_of(prefilter: Prefilter | frozenset[Prefilter]) -> list[str]:
    facts = prefilter if isinstance(prefilter, frozenset) else (prefilter,)
    return [fact if isinstance(fact, str) else fact[0] for fact in facts]


def test_every_fact_that_a_detection_names_exists_after_every_kind_of_event() -> None:
    named = set().union(*map(_facts_named_by, DETECTIONS))

    for events in ([call(0)], [auth(0)], [context(0)], [{**feedback(0), "event_id": "f"}]):
        assert sorted(named - {*_facts(events), *FEATURE_NAMES}) == []


def test_the_mask_has_a_bit_for_every_detection_that_holds() -> None:
    facts = _facts([call(0), call(1, records=6000, sensitivity="restricted")])

    mask = firing(facts, tuple(rule.limits for rule in DETECTIONS), 2)

    assert [as_int(row) for row in mask] == [0, 1 << BIT["mass_read"]]
