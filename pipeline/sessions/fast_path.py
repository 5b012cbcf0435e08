"""Fast path: runs all detections and the anomaly model over a chunk, and marks the events that need the slow path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Detector
from models.events.batch import Kind
from models.events.columns import ACTION, FACTOR_CHANGES
from models.events.context_columns import SOURCE
from models.features.table import as_seen_by_models
from models.state.segments import Bools
from models.state.table import GUESSED, HAS_RISK_STATE
from models.updates.activity import FAILURES, among
from models.updates.fold import Folded
from pipeline.control.active import ActiveConfig
from pipeline.detections import firing
from pipeline.detections.detection import is_unmodelled
from pipeline.detections.mask import Mask, holds_any
from pipeline.sessions.context_updates import GRANTING


def is_behind(newest_ms: int, now_ms: int, bound_ms: int) -> bool:
    """Whether a chunk whose newest record has time *newest_ms* is older than *bound_ms*; false if that is 0.

    A record without a time (-1) does not count.
    """
    return 0 < bound_ms < now_ms - newest_ms and newest_ms >= 0


def must_be_scored(folded: Folded, mask: Mask, forced: Bools) -> Bools:
    """Events that are scored even if the chunk is late, ``(n,)``.

    All events of a session with a risk state; of other sessions those from the first at which a detection holds or that
    takes the slow path anyway (*forced*). *mask*: which detections hold after each event.
    """
    seg, before = folded.seg, folded.before
    known = (before["flags"] & HAS_RISK_STATE != 0) | holds_any(before["mask"])
    first = np.where(known, seg.starts, len(mask))
    found = np.flatnonzero(forced | holds_any(mask))
    np.minimum.at(first, seg.of[found], found)
    scored: Bools = np.arange(len(mask)) >= first[seg.of]
    return scored


def carry_bands(band: NDArray[np.uint8], scored: Bools, folded: Folded) -> NDArray[np.uint8]:
    """*band* where an event was *scored*; elsewhere that of its session's last scored event."""
    seg = folded.seg
    last = np.maximum.accumulate(np.where(scored, np.arange(scored.size), -1))
    within = last >= seg.starts[seg.of]
    answer: NDArray[np.uint8] = np.where(within, band[last], folded.before["band"][seg.of])
    return answer


_ENDING: Final = ACTION["sign_out"]
_SHOWS_USE: Final = tuple(ACTION[name] for name in ("sign_in", "token_issued", "token_refreshed", "token_exchanged"))
_FACTOR_CHANGES: Final = among(*FACTOR_CHANGES)
_GRANTING: Final = np.array([name in GRANTING for name in ("", *ACTION)])


@dataclass(slots=True)
class ScoredChunk:
    """A chunk after the fast path, in the order of *folded*; ``(n,)`` each.

    An event that was not *scored* has score 0 and the band of its session's last scored event.
    """

    folded: Folded
    mask: Mask
    score: NDArray[np.float64]
    band: NDArray[np.uint8]
    level: NDArray[np.uint8]
    scored: Bools


def score_chunk(folded: Folded, active: ActiveConfig, *, behind: bool = False) -> ScoredChunk:
    """Run detections and model over a chunk; if the worker is far *behind*, the model scores fewer events."""
    mask = firing(folded.facts, active.engine.limits, len(folded.batch))
    every = np.ones(len(folded.batch), np.bool_)
    scored = must_be_scored(folded, mask, forces_slow_path(folded)) if behind else every
    score = scores(active.detector, folded, scored)
    band = bands_of(active.detector, score, folded)
    if behind:
        band = carry_bands(band, scored, folded)
    return ScoredChunk(folded, mask, score, band, folded.before["level"][folded.seg.of].copy(), scored)


def scores(detector: Detector, folded: Folded, scored: Bools) -> NDArray[np.float64]:
    """Anomaly scores of the events to be *scored*, 0 for the others, ``(n,)``."""
    if scored.all():
        return detector.score(as_seen_by_models(folded.values), folded.facts["kind"])
    score, some = np.zeros(scored.size), np.flatnonzero(scored)
    if some.size:
        score[some] = detector.score(as_seen_by_models(folded.values[:, some]), folded.facts["kind"][some])
    return score


def bands_of(detector: Detector, score: NDArray[np.float64], folded: Folded) -> NDArray[np.uint8]:
    """Anomaly bands, ``(n,)``; at most the first where the model does not know the newest call or most recent ones.

    A model that was trained elsewhere scores all unknown calls as anomalous: that alone must not challenge anybody. One
    that was trained in many companies does not.
    """
    band = detector.band(score)
    if detector.is_general:
        return band
    known = folded.facts["familiar"] & ~is_unmodelled(folded.facts)
    answer: NDArray[np.uint8] = np.where(known, band, np.minimum(band, 1)).astype(np.uint8)
    return answer


def only_guessed(folded: Folded) -> Bools:
    """Where nobody has got into the session: it consists of failed sign-ins up to each event, ``(n,)``.

    What contexts, analysts and timers add to such a session changes nothing about that.
    """
    seg, before = folded.seg, folded.before
    guessed: Bools = before["flags"][seg.of] & GUESSED != 0
    if folded.batch.kind is Kind.CALL:
        return np.zeros(guessed.size, np.bool_)
    if folded.batch.kind is not Kind.AUTH:
        return guessed
    failed = FAILURES[folded.facts["action"]]
    used = np.cumsum(~failed)
    used_since_start = used - (used - ~failed)[seg.starts][seg.of]
    fresh: Bools = (before["kind"] == 0)[seg.of]
    answer: Bools = (guessed | fresh) & (used_since_start == 0)
    return answer


def opened(folded: Folded, guessed: Bools) -> Bools:
    """The events by which somebody got into a session of which there were only guesses before, ``(n,)``."""
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return np.zeros(guessed.size, np.bool_)
    earlier = np.empty_like(guessed)
    earlier[1:] = guessed[:-1]
    earlier[folded.seg.starts] = folded.before["flags"] & GUESSED != 0
    answer: Bools = earlier & ~guessed
    return answer


def forces_slow_path(folded: Folded) -> Bools:
    """Events that take the slow path whatever the detections find, ``(n,)``."""
    batch = folded.batch
    forced: Bools = folded.facts["action"] == _ENDING
    if batch.kind in (Kind.TICK, Kind.VERDICT):
        forced[:] = True
    if batch.kind is Kind.CONTEXT:
        source = batch.fields.context["source"][folded.seg.order]
        forced |= (source == SOURCE["lineage"]) | (source == SOURCE["feedback"])
    if batch.kind in (Kind.AUTH, Kind.CALL):
        forced |= folded.facts["device_changed"]
    if batch.kind is Kind.AUTH:
        has_parent = [event["parent_session_id"] is not None for event in batch.events]
        forced |= np.array(has_parent, np.bool_)[folded.seg.order]
    return forced


def reveals_identity(folded: Folded) -> Bools:
    """Events that contexts are notified of, ``(n,)``.

    They reveal the session's identity, a new network, client or device, its workload or another factor, or use
    something sensitive for the first time.
    """
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return np.zeros(len(folded.batch), np.bool_)
    facts, seg = folded.facts, folded.seg
    first = (seg.rank == 0) & (folded.before["kind"][seg.of] == 0)
    revealing: Bools = first | facts["network_changed"] | facts["client_changed"] | facts["device_new"]
    revealing |= facts["network_new"] | facts["reaching"]
    if folded.batch.kind is Kind.AUTH:
        revealing |= _FACTOR_CHANGES[facts["action"]]
        flags = [event["workload"] is not None for event in folded.batch.events]
        granted = np.array([bool(event["scopes"]) for event in folded.batch.events], np.bool_)
        revealing |= np.array(flags, np.bool_)[seg.order]
        revealing |= granted[seg.order] & _GRANTING[facts["action"]]
    return revealing


def continues_after_sign_out(folded: Folded) -> Bools:
    """Events that show use of a session, which must not occur after its sign-out, ``(n,)``."""
    continues: Bools
    if folded.batch.kind is Kind.CALL:
        continues = ~folded.batch.fields.call["failed"][folded.seg.order]
    else:
        continues = np.logical_or.reduce([folded.facts["action"] == number for number in _SHOWS_USE])
    return continues
