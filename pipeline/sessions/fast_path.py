"""The fast look at a chunk: detections and model over every event, and which events need another look."""

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
from models.state.table import HAS_CASE
from models.updates.activity import among
from models.updates.fold import Folded
from pipeline.control.active import ActiveConfig
from pipeline.detections import firing
from pipeline.detections.detection import is_unmodelled
from pipeline.detections.mask import Mask, holds_any
from pipeline.sessions.context_updates import GRANTING


def is_behind(newest_ms: int, now_ms: int, bound_ms: int) -> bool:
    """Whether a chunk whose newest record is of *newest_ms* is older than *bound_ms*; never where that is 0.

    A record without a time (-1) tells nothing.
    """
    return 0 < bound_ms < now_ms - newest_ms and newest_ms >= 0


def must_be_scored(folded: Folded, mask: Mask, special: Bools) -> Bools:
    """Which events of a chunk are scored however late it is, ``(n,)``.

    All of a session that has a case; of another, those from the first on at which a detection holds or that
    is looked at anyway (*special*). *mask*: which detections hold after each event.
    """
    seg, before = folded.seg, folded.before
    known = (before["flags"] & HAS_CASE != 0) | holds_any(before["mask"])
    first = np.where(known, seg.starts, len(mask))
    speaking = np.flatnonzero(special | holds_any(mask))
    np.minimum.at(first, seg.of[speaking], speaking)
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
_GOING_ON: Final = tuple(ACTION[name] for name in ("sign_in", "token_issued", "token_refreshed", "token_exchanged"))
_FACTOR_CHANGES: Final = among(*FACTOR_CHANGES)
_GRANTING: Final = np.array([name in GRANTING for name in ("", *ACTION)])


@dataclass(slots=True)
class ScoredChunk:
    """The fast look at a chunk, sorted as *folded* is: ``(n,)`` each.

    What was not *scored* has 0 as its score, and as its band that of its session's last one.
    """

    folded: Folded
    mask: Mask
    score: NDArray[np.float64]
    band: NDArray[np.uint8]
    level: NDArray[np.uint8]
    scored: Bools


def score_chunk(folded: Folded, active: ActiveConfig, *, behind: bool = False) -> ScoredChunk:
    """Detections and model over every event of a chunk; the model over fewer where it is far *behind*."""
    mask = firing(folded.facts, active.judge.limits, len(folded.batch))
    every = np.ones(len(folded.batch), np.bool_)
    scored = must_be_scored(folded, mask, forces_slow_path(folded)) if behind else every
    score = scores(active.detector, folded, scored)
    band = bands_of(active.detector, score, folded)
    if behind:
        band = carry_bands(band, scored, folded)
    return ScoredChunk(folded, mask, score, band, folded.before["level"][folded.seg.of].copy(), scored)


def scores(detector: Detector, folded: Folded, scored: Bools) -> NDArray[np.float64]:
    """How odd each event is that is to be *scored*; 0 for the others."""
    if scored.all():
        return detector.score(as_seen_by_models(folded.values), folded.facts["kind"])
    score, some = np.zeros(scored.size), np.flatnonzero(scored)
    if some.size:
        score[some] = detector.score(as_seen_by_models(folded.values[:, some]), folded.facts["kind"][some])
    return score


def bands_of(detector: Detector, score: NDArray[np.float64], folded: Folded) -> NDArray[np.uint8]:
    """How odd each event is, in bands; never more than the first where the model does not know the calls.

    The newest, or most of those of the last minutes. A model that was trained elsewhere finds everything odd
    that it has not seen: it shall not ask anybody for a factor because of that.
    """
    band = detector.band(score)
    known = folded.facts["familiar"] & ~is_unmodelled(folded.facts)
    answer: NDArray[np.uint8] = np.where(known, band, np.minimum(band, 1)).astype(np.uint8)
    return answer


def forces_slow_path(folded: Folded) -> Bools:
    """Events that are looked at whatever the detections say."""
    batch = folded.batch
    special: Bools = folded.facts["action"] == _ENDING
    if batch.kind in (Kind.TICK, Kind.VERDICT):
        special[:] = True
    if batch.kind is Kind.CONTEXT:
        source = batch.fields.context["source"][folded.seg.order]
        special |= (source == SOURCE["lineage"]) | (source == SOURCE["feedback"])
    if batch.kind in (Kind.AUTH, Kind.CALL):
        special |= folded.facts["device_changed"]
    if batch.kind is Kind.AUTH:
        born = [event["parent_session_id"] is not None for event in batch.events]
        special |= np.array(born, np.bool_)[folded.seg.order]
    return special


def reveals_identity(folded: Folded) -> Bools:
    """Events that contexts hear of.

    They show who a session is or what it shows anew, its workload, another factor, or reach for something
    sensitive that it had not used before.
    """
    if folded.batch.kind not in (Kind.AUTH, Kind.CALL):
        return np.zeros(len(folded.batch), np.bool_)
    facts, seg = folded.facts, folded.seg
    first = (seg.rank == 0) & (folded.before["kind"][seg.of] == 0)
    showing: Bools = first | facts["network_changed"] | facts["client_changed"] | facts["device_new"]
    showing |= facts["network_new"] | facts["reaching"]
    if folded.batch.kind is Kind.AUTH:
        showing |= _FACTOR_CHANGES[facts["action"]]
        flags = [event["workload"] is not None for event in folded.batch.events]
        granted = np.array([bool(event["scopes"]) for event in folded.batch.events], np.bool_)
        showing |= np.array(flags, np.bool_)[seg.order]
        showing |= granted[seg.order] & _GRANTING[facts["action"]]
    return showing


def continues_after_sign_out(folded: Folded) -> Bools:
    """Events that a session which has signed out should not have any more."""
    going_on: Bools
    if folded.batch.kind is Kind.CALL:
        going_on = ~folded.batch.fields.call["failed"][folded.seg.order]
    else:
        going_on = np.logical_or.reduce([folded.facts["action"] == number for number in _GOING_ON])
    return going_on
