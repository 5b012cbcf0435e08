"""Prefilters: a detection is not evaluated without their facts, so each of these must really be needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.events.columns import KINDS
from models.features.table import COUNTER_NAMES
from models.features.volumes import VOLUMES
from models.updates.activity import ACTIVITY_FACTS
from models.updates.call_sequence import ROLE_FACTS, USUAL_NAMES
from models.updates.client import CLIENT_FACTS
from models.updates.context import CONTEXT_FACTS
from pipeline.detections import DETECTION_IDS, DETECTIONS, firing
from pipeline.detections.detection import Prefilter
from pipeline.detections.mask import as_int

EVENTS = 4_096
NUMBERS = (0.0, 0.3, 0.6, 3.0, 200.0, 1e4, 1e9)
WITH_PREFILTER = [(rule, prefilter) for rule in DETECTIONS for prefilter in rule.prefilter]
LIMITS = tuple(rule.limits for rule in DETECTIONS)


def _anything(seed: int) -> dict[str, Any]:
    """Random facts, in combinations that no session may ever have."""
    rng = np.random.default_rng(seed)
    view: dict[str, Any] = {}
    for kind in (ACTIVITY_FACTS, CLIENT_FACTS, CONTEXT_FACTS, ROLE_FACTS):
        for name in kind.names or ():
            view[name] = _drawn(rng, kind[name])
    names = (*COUNTER_NAMES, *USUAL_NAMES, *(f"usual_{name}" for name in VOLUMES))
    view |= {name: rng.choice(NUMBERS, EVENTS) for name in names}
    view["kind"] = rng.integers(0, len(KINDS), EVENTS).astype(np.uint8)
    return view


def _drawn(rng: np.random.Generator, kind: np.dtype[Any]) -> Any:
    if kind.kind == "f":
        return rng.choice(NUMBERS, EVENTS).astype(kind)
    if kind.kind == "b":
        return rng.random(EVENTS) < 0.5
    some = rng.integers(0, 2**63 - 1, EVENTS) >> rng.integers(0, 63, EVENTS)
    return some.astype(kind.base)


def _without(view: dict[str, Any], prefilter: Prefilter | frozenset[Prefilter]) -> dict[str, Any]:
    """The same facts, with none of *prefilter*'s anywhere."""
    quiet = dict(view)
    for alternative in prefilter if isinstance(prefilter, frozenset) else (prefilter,):
        name, bits = alternative if isinstance(alternative, tuple) else (alternative, None)
        fact = quiet[name]
        quiet[name] = np.zeros_like(fact) if bits is None else fact & ~fact.dtype.type(bits)
    return quiet


@pytest.mark.parametrize(
    ("rule", "prefilter"), WITH_PREFILTER, ids=[f"{rule.id}-{at}" for at, (rule, _) in enumerate(WITH_PREFILTER)]
)
def test_without_the_facts_of_its_prefilter_no_detection_holds(rule: Any, prefilter: Any) -> None:
    for seed in range(8):
        holds = rule.holds(_without(_anything(seed), prefilter), rule.limits)

        assert not holds.any()


def test_every_detection_that_holds_on_random_facts_is_found() -> None:
    for seed in range(8):
        view = _anything(seed)
        expected = {rule.id: rule.holds(view, rule.limits).tolist() for rule in DETECTIONS if rule.holds is not None}

        mask = firing(view, LIMITS, EVENTS)

        found = {
            rule_id: [as_int(row) >> index & 1 != 0 for row in mask]
            for index, rule_id in enumerate(DETECTION_IDS)
            if rule_id in expected
        }
        assert found == expected


def test_most_detections_are_not_evaluated_for_a_chunk_of_ordinary_calls() -> None:
    asked = [rule for rule in DETECTIONS if rule.holds is not None]

    assert len([rule for rule in asked if rule.prefilter]) >= 0.8 * len(asked)
