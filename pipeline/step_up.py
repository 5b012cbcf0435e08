"""Whether somebody was there to answer a step-up: of a closed laptop none is missed."""

from __future__ import annotations

from pipeline.case import Challenge
from pipeline.moment import Moment


def is_seen(challenge: Challenge, moment: Moment, step_up_s: float) -> bool:
    """Whether the session was in use since *challenge* was asked, and its time is over.

    Where it was not used by the deadline, the time runs anew from its next use, which *challenge* then knows.
    """
    used_at = moment.at if moment.uses else moment.used_at
    challenge.unseen |= moment.used_at <= challenge.asked_at
    if challenge.unseen and used_at > challenge.asked_at:
        challenge.unseen = False
        challenge.asked_at = used_at - 1  # that use is seen
        challenge.deadline = used_at + int(step_up_s * 1000)
    return not challenge.unseen and moment.at >= challenge.deadline
