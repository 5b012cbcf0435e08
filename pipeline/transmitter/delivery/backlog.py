"""How much a stream holds while nobody takes it, and what happens then: the receiver is told, then it stops.

A stream from which nobody takes anything is paused when it holds too many tokens, or one too old. A paused
stream keeps the newest and gives up the rest; paused for too long, it is disabled. Each time stream-updated
goes first, and has some time to arrive (SSF 1.0 §8.1.5). A stream of the operator's file stays as it is: its
receiver has no way to begin it again. It only gives up the rest. And whatever a receiver does, its stream
holds no more than some times as many: it takes tokens by acknowledging them, not by asking for them.
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
"""A receiver that took something so recently is there, and gets more however much waits."""

GRACE_MS: Final = 60_000
"""How long stream-updated may take to arrive before the status changes all the same."""

CEILING: Final = 10
"""Times as many tokens a stream may hold whose receiver takes some: it may be behind for a while."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for a stream: how many, since when the oldest (ms), and whether its receiver takes some.

    *said*: state and time of each stream-updated since the status last changed.
    """

    count: int
    oldest_at: int | None
    taken: bool
    announced: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The status a stream gets, or keeps, and what its receiver is told."""

    status: Status
    reason: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How many tokens a stream holds and how long, and how long it may be idle and told; ms."""

    count: int
    age_ms: int
    idle_ms: int
    grace_ms: int

    @property
    def ceiling(self) -> int:
        """How many tokens no stream holds more of, whatever its receiver does."""
        return self.count * CEILING

    @classmethod
    def of(cls, settings: TransmitterSettings) -> Limits:
        age_ms = round(settings.hold_s * 1000)
        return cls(settings.hold_sets, age_ms, min(IDLE_MS, age_ms), min(GRACE_MS, age_ms))


def next_status_change(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> StatusChange | None:
    """Return what is to be said and done about *stream*; `None`: nothing. What was said is done, too."""
    if stream.declared:
        return None
    many = held.count > limits.count
    old = held.oldest_at is not None and held.oldest_at < now_ms - limits.age_ms
    hours = limits.age_ms / HOUR_MS
    if stream.status == "enabled":
        idle = not held.taken and stream.updated_at <= now_ms - limits.idle_ms
        if not held.announced and not (idle and (many or old)):
            return _full(stream, held, limits, now_ms)
        what = f"more than {limits.count} tokens wait" if many else f"tokens wait for {hours:g} h"
        return StatusChange("paused", f"nobody takes what this stream holds: {what}")
    if stream.status == "paused" and stream.updated_at < now_ms - limits.age_ms:
        if held.count or _since(held, stream, limits, "disabled"):
            return StatusChange("disabled", f"paused for more than {hours:g} h")
    elif stream.status == "paused" and many:
        return StatusChange("paused", _newest(limits.count))
    return None


def _full(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> StatusChange | None:
    """Tell the receiver of an enabled stream that it loses tokens; once in a while, if that goes on."""
    move_read = StatusChange("enabled", _newest(limits.ceiling))
    lately = stream.status_reason == move_read.reason and stream.updated_at > now_ms - limits.age_ms
    return None if held.count <= limits.ceiling or lately else move_read


def _newest(count: int) -> str:
    return f"holds its newest {count} tokens; older ones are given up"


def retention_bounds(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> tuple[int, int]:
    """Return how many of its newest tokens *stream* keeps, and since when they must have been made, ms.

    One that is taken from keeps more, but not what is too old; one that is told to pause soon, that, too. One
    that is disabled holds nothing but the word that it is, for as long as that may take to arrive.
    """
    if stream.status == "disabled":
        return limits.count, now_ms - limits.grace_ms
    if stream.status == "paused" or (stream.declared and not held.taken):
        return limits.count, now_ms - limits.age_ms
    found = next_status_change(stream, held, limits, now_ms)
    soon = found is not None and found.status != stream.status
    return limits.ceiling, 0 if soon else now_ms - limits.age_ms


def needs_action(stream: Stream, held: Backlog, limits: Limits, now_ms: int) -> bool:
    """Say whether there is something to do for *stream*."""
    most, since_ms = retention_bounds(stream, held, limits, now_ms)
    old = held.oldest_at is not None and held.oldest_at < since_ms
    return held.count > most or old or next_status_change(stream, held, limits, now_ms) is not None


def _since(held: Backlog, stream: Stream, limits: Limits, status: Status) -> tuple[tuple[str, int], ...]:
    """Return what was said of coming to *status*: the end of a pause is told when its time is over."""
    begun = stream.updated_at + (limits.age_ms if status == "disabled" else 0)
    return tuple((state, at) for state, at in held.announced if at >= begun)


def read(conn: Connection, stream: Stream, limits: Limits, now_ms: int) -> Backlog:
    """Look what waits for *stream*; whether it is taken from, only where that matters."""
    count, oldest = queue.backlog_size(conn, stream.stream_id)
    if count <= limits.count and (oldest is None or oldest >= now_ms - limits.age_ms):
        taken = True
    else:
        taken = _taken(conn, stream, now_ms - limits.idle_ms)
    return Backlog(count, oldest, taken, announcements(conn, stream.stream_id, stream.updated_at))


def _taken(conn: Connection, stream: Stream, since_ms: int) -> bool:
    """Say whether the receiver took something since. To be handed tokens is not to take them."""
    here = sets.c.stream_id == stream.stream_id
    ended = select(sets.c.seq).where(here, sets.c.ended_at > since_ms, sets.c.state == "delivered").limit(1)
    return conn.scalar(ended) is not None


@dataclass(frozen=True, slots=True)
class BacklogLimiter:
    """Keeps streams within *limits*, one step at a time; what it needs to speak as the transmitter."""

    announcer: Announcer
    sealer: Sealer
    limits: Limits

    def step(self, conn: Connection, stream_id: str, now_ms: int) -> StatusChange | None:
        """Do what is next for a stream; *conn* writes. Return the move that was said now, or came to pass.

        The stream is read anew: its receiver may have changed it meanwhile.
        """
        stream = streams.get(conn, self.sealer, stream_id, lock=True)
        if stream is None:
            return None
        held = read(conn, stream, self.limits, now_ms)
        found = next_status_change(stream, held, self.limits, now_ms)
        details = () if found is None else _since(held, stream, self.limits, found.status)
        done = None if found is None else self._go(conn, stream, found, details, now_ms)
        most, since_ms = retention_bounds(stream, held, self.limits, now_ms)
        if gone := drop_oldest(conn, stream_id, most, since_ms, now_ms):
            keep_newest(conn, stream_id, self.limits.count, gone)
        return done

    def _go(
        self, conn: Connection, stream: Stream, found: StatusChange, counts: tuple[tuple[str, int], ...], now_ms: int
    ) -> StatusChange | None:
        if not counts:
            self.announcer.say(conn, stream, found.status, found.reason, now_ms)
            if found.status == "enabled":  # with its reason, by which it is known to be told
                streams.set_status(conn, stream.stream_id, found.status, found.reason, now_ms)
            return found
        state, at = counts[-1]
        if found.status == stream.status or (state == "queued" and now_ms - at < self.limits.grace_ms):
            return None
        streams.set_status(conn, stream.stream_id, found.status, found.reason, now_ms)
        return found
