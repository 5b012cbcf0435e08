"""A revocation that nobody confirms: sent again, and told to people once when that does not help either.

It is told in the words there are: a decision with a reason of its own, which adds nothing to the score, and
the session's finding, which is critical for as long as the command stays unconfirmed. Nothing is remembered
for it: how often the command was sent says all.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.decisions.risk_state import Revocation, SessionRiskState
from pipeline.processing.messages import stable_id

UNCONFIRMED: Final = "revocation_unconfirmed"
"""The name of the reason, and of the finding's type."""
UNCONFIRMED_TEXT: Final = "The session was revoked and revoked again, but no enforcer has confirmed that it ended."
FORGOTTEN_TEXT: Final = (
    "The session is followed no longer, and no enforcer has confirmed that it ended. Nothing more comes: see "
    "by hand whether it ended, and close this."
)
"""What the finding says last, of a session that is forgotten before anybody confirms."""
SENDS: Final = 3
"""The command, the reminder after its deadline, and the one that goes out as people are told."""


def is_unconfirmed(case: SessionRiskState) -> bool:
    """Whether the command that ended the session is past its deadline and that of its reminder."""
    revocation = case.revocation
    return revocation is not None and not revocation.acknowledged and revocation.sends >= SENDS


def is_first_report(revocation: Revocation) -> bool:
    """Whether the reminder that was just sent is the one with which people are told."""
    return revocation.sends == SENDS


def reason(revocation: Revocation, ack_s: float) -> dict[str, Any]:
    """What a decision says of it; an enforcer has *ack_s* seconds."""
    return {
        "detection": UNCONFIRMED,
        "text": UNCONFIRMED_TEXT,
        "severity": "HIGH",
        "contribution": 0.0,
        "observed": f"sent {revocation.sends} times, not confirmed",
        "normal": f"confirmed within {ack_s:g} s",
    }


def decision_id(revocation: Revocation) -> str:
    """The id of the decision that tells people: the same in whichever sweep its moment is noticed."""
    return stable_id(revocation.command["revocation_id"], UNCONFIRMED)
