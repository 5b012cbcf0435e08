"""Escalation: a revocation that no enforcer acknowledges is sent again, and reported once if that does not help.

The report uses existing records: a decision with a reason of its own that adds nothing to the score, and the session's
finding, which is critical as long as the revocation is unconfirmed. No further state is needed: the number of sends
determines everything.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.decisions.risk_state import Revocation, SessionRiskState
from pipeline.processing.messages import stable_id

UNCONFIRMED: Final = "revocation_unconfirmed"
"""Id of the reason and type of the finding."""
UNCONFIRMED_TEXT: Final = "The session was revoked and revoked again, but no enforcer has confirmed that it ended."
FORGOTTEN_TEXT: Final = (
    "The session is followed no longer, and no enforcer has confirmed that it ended. Nothing more comes: see "
    "by hand whether it ended, and close this."
)
"""The finding's last text if the session is forgotten before any enforcer confirms."""
SENDS: Final = 3
"""The command, the reminder at its deadline, and the reminder that is reported."""


def is_unconfirmed(state: SessionRiskState) -> bool:
    """Whether the revocation of the session is past its deadline and that of its reminder."""
    revocation = state.revocation
    return revocation is not None and not revocation.acknowledged and revocation.sends >= SENDS


def is_first_report(revocation: Revocation) -> bool:
    """Whether the reminder that was just sent is the one to report."""
    return revocation.sends == SENDS


def reason(revocation: Revocation, ack_s: float) -> dict[str, Any]:
    """The reason in a decision; *ack_s* is the enforcer's deadline in seconds."""
    return {
        "detection": UNCONFIRMED,
        "text": UNCONFIRMED_TEXT,
        "severity": "HIGH",
        "contribution": 0.0,
        "observed": f"sent {revocation.sends} times, not confirmed",
        "normal": f"confirmed within {ack_s:g} s",
    }


def decision_id(revocation: Revocation) -> str:
    """Id of the decision that reports it: the same whichever timer finds the deadline passed."""
    return stable_id(revocation.command["revocation_id"], UNCONFIRMED)
