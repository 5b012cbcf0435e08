"""Detections on verdicts from elsewhere: an ancestor session was revoked, or somebody reported a compromise."""

from __future__ import annotations

from typing import Final

from pipeline.detections.detection import FOREVER, Detection, event_fields

VERDICTS: Final[tuple[Detection, ...]] = (
    Detection(
        id="ancestor_revoked",
        text="The session this one was born from was revoked.",
        user_text="The session that started this one was ended for safety.",
        severity="HIGH",
        weight=8.0,
        hold_s=FOREVER,
        cleared_by_step_up=False,
        is_fact=True,
        suppressible=False,
        holds=lambda x, _: x["fallen"],
        prefilter=("fallen",),
        observed=("fallen", "ancestor"),
        normal="ancestors trusted",
        attack=("T1550.001",),
        references=("NIST SP 800-207 §2.1 tenet 6",),
        needs=event_fields("auth-events", "parent_session_id"),
        known_false_positives="whatever caused the ancestor's revocation by mistake",
        clearing="Never clears: start a new session from a trusted one.",
    ),
    Detection(
        id="confirmed_compromised",
        text="An analyst or the user confirmed that this session is compromised.",
        user_text="This session was reported as compromised and was ended.",
        severity="HIGH",
        weight=10.0,
        hold_s=FOREVER,
        cleared_by_step_up=False,
        is_fact=True,
        suppressible=False,
        holds=lambda x, _: x["confirmed"],
        prefilter=("confirmed",),
        observed=("confirmed", "report"),
        normal="no report",
        attack=("T1078",),
        references=("NIST CSF 2.0 DE.AE-02",),
        needs=event_fields("session-feedback", "verdict"),
        known_false_positives="a report sent by mistake",
        clearing="Never clears in this session: start a new one.",
    ),
)
