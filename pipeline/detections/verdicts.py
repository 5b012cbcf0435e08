"""Detections: what others concluded: an ancestor fell, a person reported it."""

from __future__ import annotations

from typing import Final

from pipeline.detections.detection import FOREVER, Detection, members

VERDICTS: Final[tuple[Detection, ...]] = (
    Detection(
        "ancestor_revoked", "The session this one was born from was revoked.",
        "The session that started this one was ended for safety.",
        "HIGH", 8.0, FOREVER, False, ("T1550.001",),
        lambda x, _: x["fallen"],
        ("fallen", "ancestor"), "ancestors trusted", "whatever made the ancestor fall falsely",
        needs=members("auth-events", "parent_session_id"),
        references=("NIST SP 800-207 §2.1 tenet 6",),
        clearing="Never: start a session anew from one that is trusted.",
        suppressible=False,
        prefilter=("fallen",),
    ),
    Detection(
        "confirmed_compromised", "An analyst or the user confirmed that this session is compromised.",
        "This session was reported as compromised and was ended.",
        "HIGH", 10.0, FOREVER, False, ("T1078",),
        lambda x, _: x["confirmed"],
        ("confirmed", "report"), "no report", "a mistaken click",
        needs=members("session-feedback", "verdict"),
        references=("NIST CSF 2.0 DE.AE-02",),
        clearing="Never in this session: start a new one.",
        suppressible=False,
        prefilter=("confirmed",),
    ),
)  # fmt: skip
