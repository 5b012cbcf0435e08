"""Whether the receiver of a stream is there at all: while it is not, one token at a time tries.

Failures that say nothing of a token are no tries of it: what waits for a receiver that is away waits until
`hold_s`, and is not given up within a minute. A token that fails so while the receiver takes others fails by
itself: its tries are counted, or it would keep them all waiting.
"""

from __future__ import annotations

from random import Random
from typing import Final

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.outcomes import PushResult, pause_ms
from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.push_responses import PushResponse

DOWN_AFTER: Final = 2
"""Failures with no answer between them: one alone may be a connection that was closed for being idle."""

PROBE_S: Final = 30.0
"""Longest pause while it is down, seconds: a push costs little, and what waits for its return is urgent."""

OVERLOADED: Final = ("http_429", "http_503")
"""Errors whose `Retry-After` is of the receiver as a whole (RFC 6585 §4, RFC 9110 §15.6.4)."""


class CircuitBreaker:
    """What is known of one receiver, by what came of pushes to it; times in ms."""

    def __init__(self, settings: TransmitterSettings, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self._answered_at = -1
        self._failed_first = 0  # since the last answer, as all of these
        self._failed_last = 0
        self._failures = 0
        self._rounds = 0  # of pushes that were under way together
        self._again_at = 0
        self._asked_until = 0  # by its Retry-After, which stands whatever it answers meanwhile

    @property
    def down_since(self) -> int | None:
        """Since when the receiver has answered nothing that speaks of a token; `None` while it does."""
        return self._failed_first if self._failures >= DOWN_AFTER else None

    @property
    def paused_until(self) -> int:
        """Nothing is pushed before."""
        return max(self._asked_until, 0 if self.down_since is None else self._again_at)

    def available_slots(self, now_ms: int, under_way: int) -> int:
        """Return how many pushes may begin while so many are *under_way*."""
        if now_ms < self.paused_until:
            return 0
        most = self._settings.push_at_once if self.down_since is None else 1
        return max(0, most - under_way)

    def record(self, token: QueuedToken, answer: PushResponse, begun_ms: int, now_ms: int) -> PushResult | None:
        """Note what came of a push; return what becomes of *token*, or `None` if the answer speaks of it."""
        asked_ms = answer.retry_after_ms or 0
        if answer.error in OVERLOADED:
            self._asked_until = max(self._asked_until, now_ms + asked_ms)
        if answer.counts == "always":
            self._answered_at = now_ms
            self._failures = self._rounds = 0
            return None
        if answer.counts == "unless_down" and self._answered_others(token, begun_ms):
            return None
        self._fail(begun_ms, now_ms)
        due_at = max(self._again_at, now_ms + asked_ms)
        return PushResult(token, "retry", answer.error, answer.text, due_at, counted=False)

    def _answered_others(self, token: QueuedToken, begun_ms: int) -> bool:
        """Say whether the receiver answered while this was pushed, or since it was to be tried again."""
        if token.error is None:
            return self._answered_at > begun_ms
        return self._answered_at >= token.due_at

    def _fail(self, begun_ms: int, now_ms: int) -> None:
        if not self._failures:
            self._failed_first = now_ms
        if not self._failures or begun_ms > self._failed_last:  # else it fails together with the one before
            self._rounds += 1
            self._failed_last = now_ms
            longest_s = min(PROBE_S, self._settings.push_backoff_max_s)
            pause = pause_ms(self._rounds, self._settings.push_backoff_s, longest_s, self._rng)
            self._again_at = now_ms + pause
        self._failures += 1
