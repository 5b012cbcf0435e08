"""Honest people answer: a recording in which a challenged user proves a factor, a thief does not.

A recording cannot know what will be asked of its users. Played without an answer every false challenge would
end as a missed one, and honest sessions would be revoked that in life would not.
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
"""Of honest users who answer a challenge in time; the others were away from the desk."""
FASTEST_S: Final = 8
SLOWEST_S: Final = 90


class Answers:
    """Adds the answers of honest users to the records of a recording, in event-time order.

    Args:
        honest: (tenant, session id, time in ms) → whether the session is in its owner's hands then.
        share: of the users asked, how many answer.
    """

    def __init__(self, honest: Callable[[str, str, int], bool], share: float = SHARE) -> None:
        self._honest = honest
        self._share = share
        self._due: list[tuple[int, bytes]] = []

    def among(self, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
        """Yield *records* with the answers that are due between them."""
        for record in records:
            while self._due and self._due[0][0] <= record.occurred_at:
                at, value = heappop(self._due)
                yield InputRecord(AUTH_EVENTS, 0, value, at)
            yield record

    def hear(self, message: Message) -> None:
        """Have a challenge answered, where there is an owner to answer it."""
        if message.topic != SESSION_CHALLENGES:
            return
        asked = from_json(message.value)
        at = asked["decided_at"]
        if asked["principal_kind"] != "human" or not self._honest(asked["tenant"], asked["session_id"], at):
            return
        drawn = int.from_bytes(blake2b(asked["challenge_id"].encode(), digest_size=8).digest()) / 2.0**64
        if drawn < self._share:
            wait = FASTEST_S + drawn / self._share * (SLOWEST_S - FASTEST_S)
            answered_at = at + int(wait * 1000)
            heappush(self._due, (answered_at, to_json(_passed(asked, answered_at))))


def _passed(asked: dict[str, Any], at: int) -> dict[str, Any]:
    fields = {name: asked[name] for name in ("tenant", "session_id", "principal_id", "principal_kind")}
    return {
        "type": "auth.event",
        "event_id": f"answer-{asked['challenge_id'][:32]}",
        "occurred_at": at,
        **fields,
        "action": "step_up_passed",
        "amr": ["hwk"],
    }
