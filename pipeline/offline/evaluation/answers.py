"""Answers to challenges: during a replay, honest users pass the step-up that was asked for; attackers do not.

A recording cannot contain answers to the challenges of a replay. Without them, every false challenge would be missed,
and honest sessions would be revoked that would not be in reality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from heapq import heappop, heappush
from typing import Any, Final

from pydantic_core import from_json, to_json

from pipeline.offline.replay.recording import InputRecord
from pipeline.processing.processor import Message
from schemas.topics import AUTH_EVENTS, SESSION_CHALLENGES

SHARE: Final = 0.97
"""Share of honest users who answer a challenge in time; the others are away."""
FASTEST_S: Final = 8
SLOWEST_S: Final = 90


class Answers:
    """Adds the answers of honest users to the records of a recording, in event-time order.

    Args:
        honest: (tenant, session id, time in ms) → whether its owner controls the session then.
        share: the share of challenged users who answer.
    """

    def __init__(self, honest: Callable[[str, str, int], bool], share: float = SHARE) -> None:
        self._honest = honest
        self._share = share
        self._due: list[tuple[int, bytes]] = []

    def insert_into(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        """Yield *records* and, between them, the answers that are due."""
        for record in records:
            while self._due and self._due[0][0] <= record.occurred_at:
                at, value = heappop(self._due)
                yield InputRecord(AUTH_EVENTS, 0, value, at)
            yield record

    def observe(self, message: Message) -> None:
        """Schedule the answer to a challenge, if its owner controls the session."""
        if message.topic != SESSION_CHALLENGES:
            return
        challenge = from_json(message.value)
        at = challenge["decided_at"]
        if challenge["principal_kind"] != "human" or not self._honest(challenge["tenant"], challenge["session_id"], at):
            return
        drawn = int.from_bytes(blake2b(challenge["challenge_id"].encode(), digest_size=8).digest()) / 2.0**64
        if drawn < self._share:
            wait = FASTEST_S + drawn / self._share * (SLOWEST_S - FASTEST_S)
            answered_at = at + int(wait * 1000)
            heappush(self._due, (answered_at, to_json(_passed(challenge, answered_at))))


def _passed(challenge: dict[str, Any], at: int) -> dict[str, Any]:
    fields = {name: challenge[name] for name in ("tenant", "session_id", "principal_id", "principal_kind")}
    return {
        "type": "auth.event",
        "event_id": f"answer-{challenge['challenge_id'][:32]}",
        "occurred_at": at,
        **fields,
        "action": "step_up_passed",
        "amr": ["hwk"],
    }
