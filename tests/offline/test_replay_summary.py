"""The summary of a replay: results for attacked sessions, false interventions for honest ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.offline.replay.summary import Scorecard
from pipeline.processing.processor import Message
from pipeline.sources.ground_truth import Truth
from schemas.decode import encode
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK


def test_a_family_is_found_only_once_its_attack_is_on() -> None:
    attack = Truth(tenant="t", session_id="early", label="attack", family="theft", started_at=1_000, ended_at=9_000)
    honest = replace(attack, session_id="honest", label="benign", family="travel")
    others = (replace(attack, session_id=name) for name in ("late", "missed"))
    card = Scorecard.against([attack, *others, honest])

    def say(topic: str, session_id: str, **overrides: Any) -> None:
        fields = {"tenant": "t", "session_id": session_id, **overrides}
        card.take(Message(topic, session_id.encode(), encode(fields)))

    say(SESSION_RISK, "early", level="HIGH", occurred_at=500)
    say(SESSION_RISK, "early", level="LOW", occurred_at=1_500)
    say(SESSION_RISK, "late", level="MEDIUM", occurred_at=3_500)
    say(SESSION_RISK, "late", level="HIGH", occurred_at=5_000)
    say(SESSION_CHALLENGES, "late", challenge_id="c")
    for _ in range(2):
        say(SESSION_REVOCATIONS, "late", revocation_id="r")
    say(SESSION_REVOCATIONS, "honest", revocation_id="h")
    card.take(Message("session-features", b"late", b"{}"))

    assert card.plain() == {
        "decisions": {"LOW": 1, "MEDIUM": 1, "HIGH": 2},
        "revocations": 2,
        "challenges": 1,
        "families": [
            {"family": "theft", "label": "attack", "sessions": 3, "found": 1, "challenged": 1, "revoked": 1}
            | {"delay_s": 2.5},
            {"family": "travel", "label": "benign", "sessions": 1, "found": 0, "challenged": 0, "revoked": 1}
            | {"delay_s": None},
        ],
        "false_revocations": 1,
    }
