"""What is published of foreign worlds: what was asked for and what was measured, by company, family and detection."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pipeline.detections import BIT
from pipeline.offline.evaluation.foreign.labelled import LabelledSession
from pipeline.offline.evaluation.foreign.observed import ObservedSession
from pipeline.offline.evaluation.foreign.page import goals, tables
from pipeline.offline.evaluation.foreign.report import judged
from tests.support.samples import T0

HOUR = 3_600_000
HONEST = LabelledSession(
    tenant="default",
    session_id="ana",
    company="bank",
    principal_kind="human",
    family=None,
    intensity=None,
    first_at=T0,
    last_at=T0 + 10 * HOUR,
    attacked_at=None,
    attack_over_at=None,
    first_day_until=T0 + 5 * HOUR,
)


def attacked(intensity: str, **observed: Any) -> ObservedSession:
    """A session that is attacked in its first minute."""
    session = dataclasses.replace(
        HONEST, family="theft", intensity=intensity, attacked_at=T0 + 60_000, attack_over_at=T0 + HOUR
    )
    return ObservedSession(session, **observed)


def result() -> dict[str, Any]:
    """A bank where one of two attacks is revoked after two minutes and one of two honest people is asked."""
    moved = 1 << BIT["session_moved"]
    sessions = [
        attacked("high", revocations=[(T0 + 180_000, ("session_moved",))], fired_attacked=moved, score=9.0),
        attacked("low"),
        ObservedSession(HONEST),
        ObservedSession(HONEST, challenges={"c-1": (T0 + HOUR, ("session_moved",))}, fired_honest=moved, score=1.0),
    ]
    return {"worlds": {"bank-1": 4}, "policy": "p@1", "model": "m@1", **judged(sessions)}


def test_goals_stand_beside_what_was_measured() -> None:
    assert goals(result()).splitlines()[2:] == [
        "| attacks of high intensity met by a step-up or a revocation | ≥ 85 % | 100 % |",
        "| attacks of low intensity met by a step-up or a revocation | ≥ 30 % | 0 % |",
        "| attacked sessions revoked | ≥ 50 % | 50 % |",
        "| honest sessions revoked in 10,000 hours: all | – | 0.0 |",
        "| the same in the worst kind of company | ≤ 5 | 0.0 (bank) |",
        "| honest people asked in 1,000 hours: all | – | 50.0 |",
        "| the same in the worst kind of company | ≤ 5 | 50.0 (bank) |",
        "| honest services and keys ended | 0 | 0 |",
        "| in the first 24 hours: revoked, asked | ≤ twice the rest | 0.0, 100.0 |",
        "| after them: revoked, asked | – | 0.0, 0.0 |",
        "| AUC of the score of sessions | ≥ 0.95 | 0.625 |",
        "| recall at 0.1 % of the honest sessions | ≥ 60 % | 50 % |",
    ]


def test_each_company_family_and_detection_has_a_row() -> None:
    text = tables(json.loads(json.dumps(result())))

    for row in (
        "| `bank` | 2 | 50 % | 50 % | 20 | 0.0 | 50.0 | 0.625 | 50 % |",
        "| theft | 2 | 50 % | 50 % | 2.0 |",
        "| `session_moved` | 1 | 500.0 | 1 | 50 % | 0 | 1 |",
    ):
        assert row in text
    assert "`bank-1`" in text
    assert "2 attacks and 20 honest hours of 4 sessions" in text
