"""Answers to challenges: during a replay, honest people pass the step-up that was asked for; attackers do not.

A recording cannot contain answers to the challenges of a replay. Without them, every false challenge would be missed,
and honest sessions would be revoked that would not be in reality. Services, keys and agents have no factor to prove:
whoever answers for them approves what they do, as long as they do it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Final

from pydantic_core import from_json, to_json

from pipeline.offline.replay.recording import InputRecord
from pipeline.processing.processor import Message
from schemas.topics import AUTH_EVENTS, SESSION_CHALLENGES

SHARE: Final = 0.97
"""Share of honest people who answer a challenge in time; the others are away."""
FASTEST_S: Final = 10
"""No less than a step of the replay, so that an answer is known before the records that follow it."""
SLOWEST_S: Final = 90


class Answers:
    """The answers of honest people to the challenges of a replay.

    Whether and when a challenge is answered follows from its id alone: a replay gives the same bytes again.

    Args:
        honest: (tenant, session id, time in ms) → whether its owner controls the session then.
        share: the share of challenged people who answer.

    Attributes:
        answered: the number of challenges that were answered.
    """

    def __init__(self, honest: Callable[[str, str, int], bool], share: float = SHARE) -> None:
        self.answered = 0
        self._honest = honest
        self._share = share
        self._due: list[tuple[int, bytes]] = []

    def due(self, until_ms: int) -> InputRecord | None:
        """Return the first answer given until *until_ms*, once; None if there is none."""
        if not self._due or self._due[0][0] > until_ms:
            return None
        self.answered += 1
        at, value = heappop(self._due)
        return InputRecord(AUTH_EVENTS, 0, value, at)

    def observe(self, message: Message) -> None:
        """Schedule the answer to a challenge, if its owner controls the session."""
        if message.topic != SESSION_CHALLENGES:
            return
        challenge = from_json(message.value)
        at = challenge["decided_at"]
        can_answer = challenge.get("principal_kind") == "human" or _is_approval(challenge)
        somebody = challenge.get("principal_id") and can_answer
        if not somebody or not self._honest(challenge["tenant"], challenge["session_id"], at):
            return
        drawn = int.from_bytes(blake2b(challenge["challenge_id"].encode(), digest_size=8).digest()) / 2.0**64
        if drawn < self._share:
            wait = FASTEST_S + drawn / self._share * (SLOWEST_S - FASTEST_S)
            answered_at = at + int(wait * 1000)
            heappush(self._due, (answered_at, to_json(_passed(challenge, answered_at))))


def _is_approval(challenge: dict[str, Any]) -> bool:
    return challenge.get("asks") == "approval"


def _passed(challenge: dict[str, Any], at: int) -> dict[str, Any]:
    fields = {name: challenge.get(name) for name in ("tenant", "session_id", "principal_id", "principal_kind")}
    return {
        "type": "auth.event",
        "event_id": f"answer-{challenge['challenge_id'][:32]}",
        "occurred_at": at,
        **fields,
        "action": "step_up_passed",
        "amr": None if _is_approval(challenge) else ["hwk"],
    }
