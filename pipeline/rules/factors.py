"""Detections: how the session was signed in to, and what became of the factors that prove it."""

from __future__ import annotations

from typing import Final

from models.columns import ACTION
from pipeline.rules.rule import FOREVER, Rule, numbers

FACTORS: Final[tuple[Rule, ...]] = (
    Rule(
        "mfa_fatigue", "A prompt was approved after a burst of denied prompts.",
        "You denied several sign-in prompts and then one was approved, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1621",),
        lambda x, limit: (x["action"] == ACTION["mfa_passed"]) & (x["mfa_denials_10m"] > limit["denials"]),
        ("mfa_denials_10m", "denials in 10 min"), "≤ {denials:g} denials",
        "somebody learning a new phone", numbers(denials=3.5),
    ),
    Rule(
        "step_up_missed", "The session was asked to prove a factor again and did not by the deadline.",
        "You were asked to confirm it is you and the time ran out.",
        "HIGH", 8.0, FOREVER, True, ("T1550.004",),
        None, ("strong_auth_age_m", "minutes since a factor"), "step-up passed in time",
        "a person away from the desk", mutable=False,
    ),
)  # fmt: skip
