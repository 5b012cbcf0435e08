"""Backlog limits: how many tokens a stream holds while its receiver takes none, and what happens beyond that.

A stream from which nothing is taken is paused when it holds too many tokens, or one that is too old. A paused
stream keeps its newest tokens and drops the rest; if it stays paused for too long, it is disabled. Each time
stream-updated is sent first and has some time to arrive (SSF 1.0 §8.1.5).

A declared stream keeps its status, because its receiver could not enable it again; it only drops the rest.
Whatever a receiver does, its stream never holds more than `CEILING` times the limit: a receiver takes tokens by
acknowledging them, not by asking for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.times import HOUR_MS
from pipeline.transmitter.protocol import Status, Stream
from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.encryption import Sealer
from pipeline.transmitter.store.queue.dead_letters import drop_oldest, keep_newest
from pipeline.transmitter.store.tables import sets
from pipeline.transmitter.tokens.stream_events import Announcer, announcements

IDLE_MS: Final = 600_000
"""A receiver that took a token within this time is active, and gets more however much waits."""

GRACE_MS: Final = 60_000
"""How long stream-updated may take to arrive before the status changes anyway, ms."""

CEILING: Final = 10
"""Multiple of the limit that the stream of an active receiver may hold: it may be behind for a while."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The waiting tokens of a stream: how many, and when the oldest was created, ms.

    *is_active*: whether the receiver takes tokens. *announced*: state and time of each stream-updated since the
    status last changed.
    """

    count: int
    oldest_at: int | None
    is_active: bool
    announced: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The status a stream gets or keeps, and the reason its receiver is given."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How many tokens a stream holds and for how long; how long it may be idle, and stream-updated may take; ms."""

    count: int
    age_ms: int
    idle_ms: int
    grace_ms: int

    @property
    def ceiling(self) -> int:
        """How many tokens a stream holds at most, whatever its receiver does."""
        return self.count * CEILING

    @classmethod
    def of(cls, settings: TransmitterSettings) -> Limits:
        age_ms = round(settings.hold_s * 1000)
        return cls(settings.hold_sets, age_ms, min(IDLE_MS, age_ms), min(GRACE_MS, age_ms))


def next_status_change(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> StatusChange | None:
    """Return the next change to announce and then make; `None`: nothing."""
    if stream.declared:
        return None
    too_many = held.count > limits.count
    too_old = held.oldest_at is not None and held.oldest_at < now_ms - limits.age_ms
    hours = limits.age_ms / HOUR_MS
    if stream.status == "enabled":
        idle = not held.is_active and stream.updated_at <= now_ms - limits.idle_ms
        if not held.announced and not (idle and (too_many or too_old)):
            return _ceiling_notice(stream, held, limits, now_ms)
        excess = f"more than {limits.count} tokens wait" if too_many else f"tokens wait for {hours:g} h"
        return StatusChange("paused", f"the receiver takes no tokens: {excess}")
    if stream.status == "paused" and stream.updated_at < now_ms - limits.age_ms:
        if held.count or _since(held, stream, limits, "disabled"):
            return StatusChange("disabled", f"paused for more than {hours:g} h")
    elif stream.status == "paused" and too_many:
        return StatusChange("paused", _newest(limits.count))
    return None


def _ceiling_notice(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> StatusChange | None:
    """Announce to the receiver of an enabled stream that it loses tokens; again after a while if that lasts."""
    change = StatusChange("enabled", _newest(limits.ceiling))
    recently = stream.status_reason == change.reason and stream.updated_at > now_ms - limits.age_ms
    return None if held.count <= limits.ceiling or recently else change


def _newest(count: int) -> str:
    return f"keeps its newest {count} tokens; older ones are dropped"


def retention_bounds(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> tuple[int, int]:
    """Return how many of its newest tokens *stream* keeps, and since when they must have been created, ms.

    An active stream keeps more, but nothing that is too old; a stream that is about to be paused keeps that,
    too. A disabled stream holds only its stream-updated, for as long as that may take to arrive.
    """
    if stream.status == "disabled":
        return limits.count, now_ms - limits.grace_ms
    if stream.status == "paused" or (stream.declared and not held.is_active):
        return limits.count, now_ms - limits.age_ms
    change = next_status_change(stream, held, limits, now_ms)
    about_to_stop = change is not None and change.status != stream.status
    return limits.ceiling, 0 if about_to_stop else now_ms - limits.age_ms


def needs_action(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> bool:
    """Whether there is anything to do for *stream*."""
    limit, since_ms = retention_bounds(stream, held, limits, now_ms)
    too_old = held.oldest_at is not None and held.oldest_at < since_ms
    return held.count > limit or too_old or next_status_change(stream, held, limits, now_ms) is not None


def _since(held: Backlog, stream: Stream, limits: Limits, status: Status) -> tuple[tuple[str, int], ...]:
    """Return the announcements of *status* so far; disabling is announced when the time of the pause is over."""
    began_ms = stream.updated_at + (limits.age_ms if status == "disabled" else 0)
    return tuple((state, time_ms) for state, time_ms in held.announced if time_ms >= began_ms)


def read(conn: Connection, stream: Stream, limits: Limits, now_ms: int) -> Backlog:
    """Read the backlog of *stream*; whether its receiver is active, only where that matters."""
    count, oldest = queue.backlog_size(conn, stream.stream_id)
    if count <= limits.count and (oldest is None or oldest >= now_ms - limits.age_ms):
        is_active = True
    else:
        is_active = _receiver_is_active(conn, stream, now_ms - limits.idle_ms)
    return Backlog(count, oldest, is_active, announcements(conn, stream.stream_id, stream.updated_at))


def _receiver_is_active(conn: Connection, stream: Stream, since_ms: int) -> bool:
    """Whether the receiver took a token since then. Being handed tokens by a poll is not taking them."""
    here = sets.c.stream_id == stream.stream_id
    ended = select(sets.c.seq).where(here, sets.c.ended_at > since_ms, sets.c.state == "delivered").limit(1)
    return conn.scalar(ended) is not None


@dataclass(frozen=True, slots=True)
class BacklogLimiter:
    """Keeps streams within *limits*, one step at a time."""

    announcer: Announcer
    sealer: Sealer
    limits: Limits

    def step(self, conn: Connection, stream_id: str, now_ms: int) -> StatusChange | None:
        """Take the next step for a stream; *conn* writes. Return the change that was announced or made now.

        The stream is read again, because its receiver may have changed it meanwhile.
        """
        stream = streams.get(conn, self.sealer, stream_id, lock=True)
        if stream is None:
            return None
        held = read(conn, stream, self.limits, now_ms)
        change = next_status_change(stream, held, self.limits, now_ms)
        announced = () if change is None else _since(held, stream, self.limits, change.status)
        result = None if change is None else self._apply(conn, stream, change, announced, now_ms)
        limit, since_ms = retention_bounds(stream, held, self.limits, now_ms)
        if dropped := drop_oldest(conn, stream_id, limit, since_ms, now_ms):
            keep_newest(conn, stream_id, self.limits.count, dropped)
        return result

    def _apply(
        self,
        conn: Connection,
        stream: Stream,
        change: StatusChange,
        announced: tuple[tuple[str, int], ...],
        now_ms: int,
    ) -> StatusChange | None:
        if not announced:
            self.announcer.announce(conn, stream, change.status, change.reason, now_ms)
            if change.status == "enabled":  # the reason marks it as announced
                streams.set_status(conn, stream.stream_id, change.status, change.reason, now_ms)
            return change
        state, time_ms = announced[-1]
        if change.status == stream.status or (state == "queued" and now_ms - time_ms < self.limits.grace_ms):
            return None
        streams.set_status(conn, stream.stream_id, change.status, change.reason, now_ms)
        return change
