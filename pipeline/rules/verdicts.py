"""Detections: what others concluded: an ancestor fell, a person reported it."""

from __future__ import annotations

from typing import Final

from pipeline.rules.rule import FOREVER, Rule

VERDICTS: Final[tuple[Rule, ...]] = (
    Rule(
        "ancestor_revoked", "The session this one was born from was revoked.",
        "The session that started this one was ended for safety.",
        "HIGH", 8.0, FOREVER, False, ("T1550.001",),
        lambda x, _: x["fallen"],
        ("fallen", "ancestor"), "ancestors trusted", "whatever made the ancestor fall falsely",
        mutable=False,
    ),
    Rule(
        "confirmed_compromised", "An analyst or the user confirmed that this session is compromised.",
        "This session was reported as compromised and was ended.",
        "HIGH", 10.0, FOREVER, False, ("T1078",),
        lambda x, _: x["confirmed"],
        ("confirmed", "report"), "no report", "a mistaken click", mutable=False,
    ),
)  # fmt: skip
