"""Circuit breaker of a receiver: while it is down, one token at a time probes it.

Failures that say nothing about a token do not count as its attempts: tokens for a receiver that is down wait
until `hold_s`, and are not dead letters after a minute. A token that fails this way while the receiver accepts
others fails by itself: its attempts count, or it would block all others.
"""

from __future__ import annotations

from random import Random
from typing import Final

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.delivery.outcomes import PushResult, pause_ms
from pipeline.transmitter.protocol import QueuedToken
from pipeline.transmitter.push_responses import PushResponse

DOWN_AFTER: Final = 2
"""Failures without a response between them; a single one may be an idle connection that was closed."""

PROBE_S: Final = 30.0
"""Longest pause between probes, seconds: a push costs little, and the waiting tokens are urgent."""

OVERLOADED: Final = ("http_429", "http_503")
"""Errors whose `Retry-After` applies to the receiver as a whole (RFC 6585 §4, RFC 9110 §15.6.4)."""


class CircuitBreaker:
    """State of one receiver, derived from the results of pushes to it; times in ms."""

    def __init__(self, settings: TransmitterSettings, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self._responded_at = -1
        self._failed_first = 0  # since the last response, like the next four
        self._failed_last = 0
        self._failures = 0
        self._rounds = 0  # of pushes that were in progress together
        self._retry_at = 0
        self._retry_after_until = 0  # by its Retry-After, which holds whatever it responds meanwhile

    @property
    def down_since(self) -> int | None:
        """When the receiver stopped giving responses that are about a token; `None` while it gives them."""
        return self._failed_first if self._failures >= DOWN_AFTER else None

    @property
    def paused_until(self) -> int:
        """Nothing is pushed before this time."""
        return max(self._retry_after_until, 0 if self.down_since is None else self._retry_at)

    def available_slots(self, now_ms: int, in_progress: int) -> int:
        """Return how many pushes may start while *in_progress* are in progress."""
        if now_ms < self.paused_until:
            return 0
        limit = self._settings.push_at_once if self.down_since is None else 1
        return max(0, limit - in_progress)

    def record(self, token: QueuedToken, response: PushResponse, started_ms: int, now_ms: int) -> PushResult | None:
        """Record the result of a push; return what happens to *token*.

        `None` if the response is about the token itself: then `outcomes.decide` does.
        """
        retry_after_ms = response.retry_after_ms or 0
        if response.error in OVERLOADED:
            self._retry_after_until = max(self._retry_after_until, now_ms + retry_after_ms)
        if response.counts == "always":
            self._responded_at = now_ms
            self._failures = self._rounds = 0
            return None
        if response.counts == "unless_down" and self._responded_to_others(token, started_ms):
            return None
        self._fail(started_ms, now_ms)
        due_at = max(self._retry_at, now_ms + retry_after_ms)
        return PushResult(token, "retry", response.error, response.text, due_at, counted=False)

    def _responded_to_others(self, token: QueuedToken, started_ms: int) -> bool:
        """Whether the receiver responded to other tokens during this push, or since this token was due again."""
        if token.error is None:
            return self._responded_at > started_ms
        return self._responded_at >= token.due_at

    def _fail(self, started_ms: int, now_ms: int) -> None:
        if not self._failures:
            self._failed_first = now_ms
        if not self._failures or started_ms > self._failed_last:  # else it was in progress together with the one before
            self._rounds += 1
            self._failed_last = now_ms
            longest_s = min(PROBE_S, self._settings.push_backoff_max_s)
            pause = pause_ms(self._rounds, self._settings.push_backoff_s, longest_s, self._rng)
            self._retry_at = now_ms + pause
        self._failures += 1
