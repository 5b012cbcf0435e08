"""The table of detections: each is told in sentences, with its techniques, references, weight and limits."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from models.events.columns import Columns
from models.events.context_signals import SIGNAL_BIT
from models.features.table import FEATURE_NAMES
from models.state.segments import segments
from models.state.table import ROW, SessionTable
from models.updates.fold import fold
from pipeline.detections import ATTACK_VERSION, BIT, DETECTION_IDS, DETECTIONS, firing
from schemas.topics import TOPICS
from tests.support.run_processors import Event, topic_of
from tests.support.samples import auth, call, context, feedback


def test_ids_are_unique_and_fit_into_a_row() -> None:
    assert {rule.id: at for at, rule in enumerate(DETECTIONS)} == BIT
    assert len(BIT) == len(DETECTIONS) <= 8 * ROW["mask"].itemsize
    assert [rule_id for rule_id in DETECTION_IDS if not re.fullmatch(r"[a-z]+(_[a-z]+)*", rule_id)] == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_is_told_to_people_in_sentences(rule: Any) -> None:
    for sentence in (rule.text, rule.user_text):
        assert re.fullmatch(r"[A-Z][^\n]*\.", sentence)
        assert 20 < len(sentence) <= 120
        assert rule.id not in sentence
    assert rule.normal
    assert rule.known_false_positives
    assert rule.observed[1]
    assert re.fullmatch(r"[A-Z][^\n]*\.", rule.clearing)


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_names_techniques_of_one_attack_version(rule: Any) -> None:
    assert rule.attack
    assert len(set(rule.attack)) == len(rule.attack)
    assert [uid for uid in rule.attack if not re.fullmatch(r"T\d{4}(\.\d{3})?", uid)] == []
    assert re.fullmatch(r"\d+\.\d+", ATTACK_VERSION)


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_names_members_of_inputs_without_which_it_cannot_fire(rule: Any) -> None:
    inputs = [topic for topic in TOPICS.values() if topic.direction in ("input", "control")]
    there = {f"{topic.name}.{member}" for topic in inputs for member in topic.model.model_fields}

    assert rule.needs
    assert len(set(rule.needs)) == len(rule.needs)
    assert sorted(set(rule.needs) - there) == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_refers_to_sections_that_can_be_looked_up(rule: Any) -> None:
    sections = (
        r"NIST CSF 2\.0 (GV|ID|PR|DE|RS|RC)\.[A-Z]{2}-\d\d|NIST SP 800-207 §2\.1 tenet [1-7]"
        r"|NHI(10|[1-9]):2025|RFC \d{4} §[\d.]+"
    )

    assert rule.references
    assert [reference for reference in rule.references if not re.fullmatch(sections, reference)] == []


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_rests_on_a_signal_or_on_what_holds(rule: Any) -> None:
    assert not (rule.signal and rule.holds)
    assert not rule.signal or rule.signal in SIGNAL_BIT
    assert rule.signal or rule.observed[0] or rule.holds


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_a_detection_weighs_what_its_severity_says(rule: Any) -> None:
    least = {"LOW": 0.0, "MEDIUM": 3.6, "HIGH": 5.4}

    assert rule.weight >= least[rule.severity]
    assert rule.severity == "HIGH" or rule.weight < least["HIGH"]
    assert rule.hold_s >= 0


@pytest.mark.parametrize("rule", DETECTIONS, ids=DETECTION_IDS)
def test_what_is_normal_is_told_with_the_limits_in_force(rule: Any) -> None:
    details = rule.normal.format(**rule.limits)

    assert "{" not in details
    assert len(details) <= 256


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


def test_what_was_observed_can_be_shown_of_every_detection() -> None:
    for events in ([call(0)], [auth(0)], [context(0)], [{**feedback(0), "event_id": "f"}]):
        facts = _facts(events)
        assert sorted({rule.observed[0] for rule in DETECTIONS} - {"", *facts, *FEATURE_NAMES}) == []


def test_the_mask_has_a_bit_for_every_rule_that_holds() -> None:
    facts = _facts([call(0), call(1, records=6000, sensitivity="restricted")])

    mask = firing(facts, tuple(rule.limits for rule in DETECTIONS), 2)

    assert mask.tolist() == [0, 1 << BIT["mass_read"]]
