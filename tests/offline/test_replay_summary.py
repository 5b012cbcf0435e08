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
        fields = {"tenant": "t", "session_id": session_id, "detections": [], **overrides}
        if topic == SESSION_RISK:
            fields |= {"action": "allow", "reasons": []}
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
        "decisions_repeated": 0,
        "revocations": 2,
        "revocations_unanswered": 0,
        "challenges": 1,
        "families": [
            {"family": "theft", "label": "attack", "sessions": 3, "found": 1, "challenged": 1, "revoked": 1}
            | {"delay_s": 2.5},
            {"family": "travel", "label": "benign", "sessions": 1, "found": 0, "challenged": 0, "revoked": 1}
            | {"delay_s": None},
        ],
        "false_revocations": 1,
        "false_revocations_unanswered": 0,
    }


def _card(*benign: str) -> tuple[Scorecard, Any]:
    row = Truth(tenant="t", session_id="", label="benign", family="travel", started_at=0, ended_at=9_000)
    card = Scorecard.against([replace(row, session_id=name) for name in benign])

    def send(topic: str, session_id: str, **fields: Any) -> None:
        card.take(Message(topic, session_id.encode(), encode({"tenant": "t", "session_id": session_id, **fields})))

    return card, send


def test_a_decision_counts_again_when_its_level_its_action_or_its_detections_change() -> None:
    card, send = _card()

    for level, action, detections in [
        ("HIGH", "revoke", ["malware"]),
        ("HIGH", "revoke", ["malware"]),
        ("HIGH", "revoke", ["malware", "mass_read"]),
        ("HIGH", "revoke", ["mass_read", "malware"]),
        ("HIGH", "allow", ["mass_read", "malware"]),
        ("LOW", "allow", []),
    ]:
        reasons = [{"detection": name} for name in detections]
        send(SESSION_RISK, "s", level=level, action=action, occurred_at=1, reasons=reasons)
        send(SESSION_RISK, f"other {level}", level="LOW", action="allow", occurred_at=1, reasons=[])

    plain = card.plain()
    assert (plain["decisions"], plain["decisions_repeated"]) == ({"LOW": 3, "MEDIUM": 0, "HIGH": 3}, 6)


def test_revocations_that_followed_only_from_an_unanswered_challenge_are_counted_with_their_descendants() -> None:
    card, send = _card("away", "agent of away", "rooted")

    send(SESSION_REVOCATIONS, "away", revocation_id="1", detections=["network_changed", "step_up_missed"])
    send(SESSION_REVOCATIONS, "away", revocation_id="1", detections=["network_changed", "step_up_missed"])
    send(SESSION_REVOCATIONS, "agent of away", revocation_id="2", detections=["parent"], root_session_id="away")
    send(SESSION_REVOCATIONS, "rooted", revocation_id="3", detections=["device_rooted"])

    plain = card.plain()
    assert (plain["revocations"], plain["revocations_unanswered"]) == (3, 2)
    assert (plain["false_revocations"], plain["false_revocations_unanswered"]) == (3, 2)
