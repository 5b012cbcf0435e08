"""Session processor: one object per partition that joins auth events, API calls and contexts into decisions.

Plain and synchronous: records in, state changed, messages and changelog rows out. The policy engine decides, the table
holds the state; this file is the order of the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.api_calls import read_calls
from models.events.batch import Batch, Kind, batch_of_calls
from models.events.columns import Columns
from models.state.segments import Segments, segments
from models.state.table import SOURCES, SessionTable, Subject, row_type
from models.updates.arrivals import learn_names, locate, unseen
from models.updates.fold import fold
from models.updates.passing_time import DUE, EXPIRED, SUMMARY, Patience, concerned
from pipeline.control.active import ActiveConfig, ChallengerRoles
from pipeline.decisions.guard import Guard, silent_fleets
from pipeline.decisions.step_up_budget import people_in_use
from pipeline.detections import BIT, MASK_WORDS
from pipeline.detections.mask import of_bits
from pipeline.processing.messages import Stamp, stable_id
from pipeline.processing.processor import ChangelogRow, InMemoryRecord, Outcome, Record, named_tenants
from pipeline.sessions.context_updates import notify_network_contexts
from pipeline.sessions.eviction import surplus
from pipeline.sessions.fast_path import ScoredChunk, is_behind, score_chunk
from pipeline.sessions.handler import CommandLimits, SessionEventHandler
from pipeline.sessions.lifecycle import SUMMARY_MS, SessionExpiry, acknowledge, summarise
from pipeline.sessions.shadow import Shadows
from pipeline.sessions.slow_path import SlowPath, TenantFacts
from pipeline.sessions.state_store import SessionOutcome, SessionState
from schemas.decode import decode_chunk
from schemas.decoded import DEFAULT_LIMITS, Decoded, Limits
from schemas.topics import API_CALLS, AUTH_EVENTS, REVOCATION_ACKS, SESSION_CONTEXT, SESSION_FEEDBACK

SOURCE_TOPICS: Final = (AUTH_EVENTS, API_CALLS, SESSION_CONTEXT, SESSION_FEEDBACK, REVOCATION_ACKS)
SILENCE_BIT: Final = BIT["telemetry_silent_while_idle"]
_SILENCE: Final = of_bits((SILENCE_BIT, BIT["telemetry_silent_while_active"]), MASK_WORDS)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a session processor: times in ms, counts of sessions.

    *partitions* shares the guard's budget; with *event_clock* a decision bears the time of its event, for
    replay. From *unscored_lag_ms* on the model passes over some (:mod:`pipeline.sessions.fast_path`); 0: never.
    An *onlooker* is called with every chunk after it was decided; it must change nothing. Without *changelog* no rows
    are encoded, for replays whose state nobody asks for.
    """

    partitions: int = 1
    max_sessions: int = 200_000
    lateness_ms: int = 10_000
    sweep_ms: int = 10_000
    limits: Limits = DEFAULT_LIMITS
    event_clock: bool = False
    unscored_lag_ms: int = 0
    onlooker: Callable[[SessionTable, ScoredChunk], None] | None = None
    changelog: bool = True


class SessionProcessor:
    """All sessions of one partition."""

    def __init__(self, active: ActiveConfig, columns: Columns, options: Options) -> None:
        self.active = active
        self.columns = columns
        self.options = options
        self.state = SessionState(row_type(MASK_WORDS))
        self.table = self.state.table
        self.risk_states = self.state.risk_states
        self.challenger_roles = ChallengerRoles()
        self.guard = Guard(active.engine.policy.guard, 1 / options.partitions)
        self.limits = CommandLimits(self.guard, self.state.budget)
        self.tenant_facts = TenantFacts(self._is_silent, self.guard.cannot_verify_silence, self._threshold)
        self.reached = 0
        self.wall = 0
        self.slot: int | None = None
        self.behind = False
        self.silent: frozenset[str] | None = frozenset()
        """Tenants whose fleet is silent; `None` if it was not computed yet."""
        self.most = 2 * options.max_sessions

    def process(self, topic: str, records: Sequence[Record], now_ms: int) -> Outcome:
        """Fold a chunk of *topic*, offsets ascending; see :class:`pipeline.processing.processor.Processor`."""
        out = SessionOutcome(now_ms, topic)
        self.wall = now_ms
        self.behind = is_behind(records[-1].timestamp, now_ms, self.options.unscored_lag_ms)
        decoded = self._decode(topic, records, now_ms)
        out.count_decoded(decoded, records)
        if topic == REVOCATION_ACKS:
            for event, place in zip(decoded.events, decoded.places, strict=True):
                stamp = self._stamp(event["occurred_at"], out)
                if reason := acknowledge(self.table, self.risk_states, event, out, stamp):
                    out.reject(records[place], reason)
        elif topic == SESSION_FEEDBACK:
            for event, place in zip(decoded.events, decoded.places, strict=True):
                self._verdict(event, records[place], out)
        elif decoded.events:
            offsets = np.array([records[place].offset for place in decoded.places], np.int64)
            self._advance(topic, decoded.events, offsets, out)
        return out.outcome(self.state if self.options.changelog else None)

    def _verdict(self, event: dict[str, Any], record: Record, out: SessionOutcome) -> None:
        """Decode a verdict about a live session; others are rejected with the reason."""
        if self.table.find(event["tenant"], event["session_id"]) < 0:
            out.reject(record, "session_id: no such session lives here any more")
            return
        event["event_id"] = f"feedback:{stable_id(*event.values())}"
        self._advance(SESSION_FEEDBACK, [event], np.array([record.offset], np.int64), out)

    def _decode(self, topic: str, records: Sequence[Record], now_ms: int) -> Decoded[Any]:
        """Calls, the bulk of all events, are not decoded into objects: few of them are ever read as such."""
        values, keys, limits = [r.value for r in records], [r.key for r in records], self.options.limits
        tenants = named_tenants(topic, records, limits)
        if topic == API_CALLS:
            if tenants is None and (read := _read_ahead(records, now_ms, limits)) is not None:
                return read
            return read_calls(values, keys, now_ms=now_ms, limits=limits, tenants=tenants)
        return decode_chunk(topic, values, keys, now_ms=now_ms, limits=limits, tenants=tenants)

    def _advance(
        self, topic: str, events: Sequence[Mapping[str, Any]], offsets: NDArray[np.int64], out: SessionOutcome
    ) -> None:
        """Fold *events*, and sweep each time the watermark enters another slot."""
        batch = self._batch(topic, events)
        reach = np.maximum.accumulate(np.maximum(np.minimum(batch.at, out.now_ms), self.reached))
        slots = (reach - self.options.lateness_ms) // self.options.sweep_ms
        if self.slot is None:
            self.slot = int(slots[0])
        source = SOURCES.index(topic) if topic in SOURCES else -1
        start = 0
        while start < len(batch):
            turns = np.flatnonzero(slots[start:] > self.slot)
            end = start + int(turns[0]) + 1 if turns.size else len(batch)
            if len(self.table) + end - start > self.most:
                end = start + 1
            part = np.arange(start, end)
            self._fold(batch if end - start == len(batch) else batch.take(part), source, offsets[part], out)
            self.reached = int(reach[end - 1])
            if slots[end - 1] > self.slot or len(self.table) >= self.most:
                self._advance_watermark(max(self.slot, int(slots[end - 1])), out)
            start = end

    def _batch(self, topic: str, events: Sequence[Any]) -> Batch:
        make = {
            API_CALLS: lambda calls: batch_of_calls(calls, self.columns.calls),
            AUTH_EVENTS: self.columns.auths,
            SESSION_CONTEXT: self.columns.contexts,
            SESSION_FEEDBACK: self.columns.verdicts,
        }
        return make[topic](events)

    def _fold(self, batch: Batch, source: int, offsets: NDArray[np.int64], out: SessionOutcome) -> None:
        rows = locate(self.table, batch)
        fresh, seg = unseen(self.table, batch, rows, source, offsets)
        if fresh.size < len(batch):
            out.count_events("duplicates", len(batch) - int(fresh.size))
            out.dirty.update(seg.keys.tolist())
            if not fresh.size:
                return
            batch, rows = batch.take(fresh), rows[fresh]
            seg = segments(rows)
        out.count_events("late_events", int((batch.at < self.reached - self.options.lateness_ms).sum()))
        self._score(seg, batch, out)

    def _score(self, seg: Segments, batch: Batch, out: SessionOutcome) -> None:
        folded = fold(self.table, seg, batch, self.active.roles)
        chunk = score_chunk(folded, self.active, behind=self.behind)
        out.count_events("unscored_events", len(batch) - int(chunk.scored.sum()))
        if self.active.drift is not None:
            self.active.drift.take(folded, chunk.score, chunk.scored)
        seen = self.challenger_roles.refold(self.active.challengers, self.active.roles, folded)
        shadows = Shadows(self.active.challengers, seen, chunk, self.active.engine) if seen else None
        watched = shadows.watched if shadows else None
        self.guard.limits = self.active.engine.policy.guard
        slow_path = SlowPath(chunk, self.table, self.risk_states, self.active, self.tenant_facts, watched)
        reporter = SessionEventHandler(slow_path, self.active, self.limits, out, event_clock=self.options.event_clock)
        slow_path.run(reporter.handle, reporter.announce, shadows.compare if shadows else None)
        reporter.report_features()
        if self.options.onlooker is not None:
            self.options.onlooker(self.table, slow_path.chunk)
        if shadows:
            reporter.report_shadows(shadows)
        notify_network_contexts(folded, out)
        learn_names(self.table, folded)
        out.dirty.update(seg.keys.tolist())

    def _is_silent(self, tenant: str) -> bool:
        return self.silent is None or tenant in self.silent

    def _threshold(self, tenant: str) -> float:
        return self.state.budget.raised(tenant, self.active.engine.policy.budget)

    def _stamp(self, at: int, out: SessionOutcome) -> Stamp:
        now_ms = at if self.options.event_clock else out.now_ms
        engine = self.active.engine
        return Stamp(now_ms, self.active.detector.id, engine.policy_id, engine.policy.mode)

    def on_timer(self, now_ms: int) -> Outcome:
        """Let the wall clock move an idle partition's watermark by the time since its last chunk."""
        out = SessionOutcome(now_ms)
        if self.slot is not None and self.wall:
            self.reached += max(0, now_ms - self.wall)
            self.wall = now_ms
            slot = (self.reached - self.options.lateness_ms) // self.options.sweep_ms
            if slot > self.slot:
                self._advance_watermark(slot, out)
        return out.outcome(self.state if self.options.changelog else None)

    def _advance_watermark(self, slot: int, out: SessionOutcome) -> None:
        """Sweep at the watermark of *slot*: expire sessions, send summaries, decide where time alone may matter."""
        was, at = (self.slot or 0) * self.options.sweep_ms, slot * self.options.sweep_ms
        self.slot = slot
        marks = self._concerned(was, at)
        self._expire(marks, at, out)
        summarise(self.table, np.flatnonzero(marks & SUMMARY).tolist(), at, out)
        self.silent = silent_fleets(self.table, at, self.guard)
        if self.state.budget.is_due(was, at):
            self.state.budget.count(people_in_use(self.table, at), at, self.active.engine.policy.budget)
        due = np.flatnonzero(marks & DUE)
        if due.size:
            events = [self._timer_event(row, at) for row in due.tolist()]
            self._score(segments(due), self.columns.bare(events, Kind.TICK), out)

    def _concerned(self, was: int, at: int) -> NDArray[np.uint8]:
        """What the time from *was* to *at* means for each row, ``(used,)`` (:mod:`models.updates.passing_time`)."""
        times = self.active.engine.policy.times
        intervals = float(self.active.engine.limits[SILENCE_BIT]["intervals"])
        keep_s = times.idle_s, times.ended_grace_s, times.revoked_grace_s
        patience = Patience(*keep_s, intervals, _SILENCE, SUMMARY_MS)
        return concerned(self.table.rows[: self.table.used], was, at, patience)

    def _expire(self, marks: NDArray[np.uint8], at: int, out: SessionOutcome) -> None:
        """Expire the sessions *marks* says, and those above the limit, whose marks become the same."""
        if len(self.table) > self.options.max_sessions:
            live = (self.table.rows["started_at"][: self.table.used] != 0) & (marks != EXPIRED)
            evicted = surplus(self.table, live, self.options.max_sessions)
            out.count("evicted_sessions", by=evicted.size)
            marks[evicted] = EXPIRED
        farewell = SessionExpiry(self.table, self.risk_states, at, self._stamp(at, out))
        for row in np.flatnonzero(marks == EXPIRED).tolist():
            farewell.announce(row, out)
            out.forget(row, self.state)

    def _timer_event(self, row: int, at: int) -> dict[str, Any]:
        names = Subject.unpack(self.table.names[row])
        return {
            "tenant": names.tenant,
            "session_id": names.session_id,
            "event_id": f"sweep:{at}",
            "occurred_at": at,
        }

    def restore(self, rows: Iterable[ChangelogRow]) -> None:
        """Take changelog *rows*, oldest first; the last of a key counts. Raises `UnreadableRow`."""
        self.state.restore(rows)

    def on_restored(self) -> None:
        """The changelog is restored.

        The watermark starts with the next event, as a row's time may run ahead of it. Telemetry may lag
        behind now, so until the first sweep has chunk at the fleet, nothing is revoked for silence alone.
        """
        self.state.on_restored()
        self.reached, self.slot, self.silent = 0, None, None if len(self.table) else frozenset()


def _read_ahead(records: Sequence[Record], now_ms: int, limits: Limits) -> Decoded[Any] | None:
    """Calls that a replay read together before they were due; `None` if it did not."""
    places = [record.ahead for record in records if isinstance(record, InMemoryRecord) and record.ahead is not None]
    if len(places) < len(records) or any(ahead is not places[0][0] for ahead, _ in places):
        return None
    return places[0][0].chunk([place for _, place in places], now_ms, limits)
