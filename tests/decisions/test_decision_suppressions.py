"""Suppressions of the policy and false positives: what they suppress, and until when."""

from __future__ import annotations

from pipeline.processing.messages import stable_id
from tests.support.decision_session import QUIET, REVOKED, WHO, brief, new_session
from tests.support.samples import UNASKED

SUPPRESSED = f"""{UNASKED}
[[suppressions]]
detections = ["mass_read"]
owner = "soc"
reason = "agreed export"
expires_at = 50_000
principal_id = "ana"
"""


def test_a_suppressed_detection_does_not_count_until_the_suppression_expires() -> None:
    session = new_session(SUPPRESSED)

    during, after = session.see(10, "mass_read"), session.see(50, "mass_read")

    assert (brief(during), during.suppressed) == (QUIET, "mass_read: suppressed by soc: agreed export")
    assert [(part.detection, bool(part.suppressed)) for part in during.contributions] == [("mass_read", True)]
    assert brief(after) == REVOKED


def test_a_suppressed_detection_is_reported_once() -> None:
    session = new_session(SUPPRESSED)

    assert [session.see(at, "mass_read").is_reported for at in (10, 20, 30)] == [True, False, False]


def test_a_suppression_affects_no_other_detection_or_session() -> None:
    session = new_session(SUPPRESSED)
    other = new_session(SUPPRESSED, subject=WHO._replace(principal_id="bob"))

    assert session.see(10, "mass_read", "device_rooted").revocation_id == stable_id("acme", "s-1", 0, "device_rooted")
    assert brief(other.see(10, "mass_read")) == REVOKED


def test_a_session_wakes_when_a_suppression_expires() -> None:
    session = new_session(SUPPRESSED)
    session.see(10, "mass_read")
    session.see(20)

    assert session.wake() == 50
    assert brief(session.see(50)) == REVOKED


def test_a_false_positive_is_suppressed_for_its_time() -> None:
    session = new_session('mode = "observe"')
    session.see(0, "mass_read")
    session.risk_state.suppressed_until = {"mass_read": 100_000}

    muted, again = session.see(99, "mass_read"), session.see(100, "mass_read")

    assert (muted.score, muted.suppressed) == (1.8, "mass_read: reported as a false positive")
    assert again.level == "HIGH"
