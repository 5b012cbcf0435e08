"""Judgement of a replay of labelled worlds: attacks met, false interventions, detections, and the order of scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import numpy as np

from pipeline.detections import DETECTIONS
from pipeline.offline.evaluation.foreign.labelled import LabelledSession
from pipeline.offline.evaluation.foreign.observed import ObservedSession, detections_in
from pipeline.sources.ground_truth import SKEW_MS
from pipeline.times import HOUR_MS, MINUTE_MS

T = TypeVar("T")
Phase = Literal["first_day", "rest"]
MACHINES: Final = ("service", "api_key")
"""Principal kinds for which an ended session is an outage."""
UNANSWERED: Final = "step_up_missed"
HONEST_SHARE: Final = 0.001
"""Share of honest sessions that may score higher than the attacks that count as found."""


@dataclass(frozen=True, slots=True)
class Caught:
    """Results of attacked sessions: *met* by any intervention, *in_time*: before the attack was over, and *revoked*.

    *median_minutes*: from the beginning of an attack to the first intervention; None if there was none.
    """

    attacks: int
    met: int
    in_time: int
    revoked: int
    median_minutes: float | None


@dataclass(frozen=True, slots=True)
class Falses:
    """False interventions: *revoked* sessions, of which *unanswered* after a missed challenge, and *challenges*."""

    sessions: int
    hours: float
    revoked: int
    unanswered: int
    challenges: int

    @property
    def revoked_per_10000_hours(self) -> float | None:
        """False revocations per 10,000 honest hours; None without any."""
        return 1e4 * self.revoked / self.hours if self.hours else None

    @property
    def challenges_per_1000_hours(self) -> float | None:
        """False challenges per 1,000 honest hours; None without any."""
        return 1e3 * self.challenges / self.hours if self.hours else None


@dataclass(frozen=True, slots=True)
class DetectionResult:
    """Sessions in which a detection fired, whatever followed, and the false commands that named it."""

    detection: str
    honest_sessions: int
    attacks: int
    honest_per_10000_hours: float | None
    attacks_share: float | None
    precision: float | None
    false_revocations: int
    false_challenges: int


@dataclass(frozen=True, slots=True)
class Ordering:
    """How well scores separate attacked sessions from honest ones; None without either.

    *recall*: share of attacks that score higher than all but :data:`HONEST_SHARE` of the honest sessions.
    """

    auc: float | None
    recall: float | None


def caught(observed: Iterable[ObservedSession]) -> Caught:
    """Results of the attacked sessions among *observed*."""
    attacks = [seen for seen in observed if seen.session.is_attacked]
    first, in_time = [], 0
    for seen in attacks:
        if responses := seen.responses():
            attacked_at, over_at = seen.session.attacked_at or 0, seen.session.attack_over_at or 0
            first.append((responses[0] - attacked_at) / MINUTE_MS)
            in_time += responses[0] <= over_at + SKEW_MS
    revoked = sum(bool(seen.revocations_of_attack()) for seen in attacks)
    return Caught(len(attacks), len(first), in_time, revoked, sorted(first)[len(first) // 2] if first else None)


def falses(observed: Sequence[ObservedSession], phase: Phase | None = None) -> Falses:
    """False interventions in the sessions *observed*, all or those of one *phase* of their worlds."""
    revoked = unanswered = challenges = 0
    for seen in observed:
        if (found := seen.false_revocation()) and _is_in(phase, seen.session, found[0]):
            revoked += 1
            unanswered += UNANSWERED in found[1]
        challenges += sum(_is_in(phase, seen.session, at) for at in seen.false_challenges())
    return Falses(len(observed), honest_hours(observed, phase), revoked, unanswered, challenges)


def honest_hours(observed: Iterable[ObservedSession], phase: Phase | None = None) -> float:
    """Hours in which owners controlled their sessions, all or those of one *phase*."""
    total = 0
    for seen in observed:
        begun, until = seen.session.first_at, seen.session.honest_until
        if phase == "first_day":
            until = min(until, seen.session.first_day_until)
        elif phase == "rest":
            begun = max(begun, seen.session.first_day_until)
        total += max(0, until - begun)
    return total / HOUR_MS


def machines_ended(observed: Iterable[ObservedSession]) -> int:
    """Number of honest sessions of services and keys that were revoked."""
    return sum(seen.session.principal_kind in MACHINES and seen.false_revocation() is not None for seen in observed)


def grouped(
    observed: Iterable[ObservedSession],
    group: Callable[[LabelledSession], str | None],
    measure: Callable[[Sequence[ObservedSession]], T],
) -> dict[str, T]:
    """*measure* of each group, sorted by name; sessions of the group None are left out."""
    members: dict[str, list[ObservedSession]] = {}
    for seen in observed:
        if (name := group(seen.session)) is not None:
            members.setdefault(name, []).append(seen)
    return {name: measure(members[name]) for name in sorted(members)}


def by_detection(observed: Sequence[ObservedSession]) -> list[DetectionResult]:
    """The detections that fired, those that hit most honest sessions first."""
    honest, attacked = Counter[str](), Counter[str]()
    revocations, challenges = Counter[str](), Counter[str]()
    for seen in observed:
        honest.update(detections_in(seen.fired_honest))
        attacked.update(detections_in(seen.fired_attacked))
        if found := seen.false_revocation():
            revocations.update(found[1])
        for at, named in seen.challenges.values():
            if at < seen.session.false_until:
                challenges.update(named)
    hours, attacks = honest_hours(observed), sum(seen.session.is_attacked for seen in observed)
    results = [
        DetectionResult(
            name,
            honest[name],
            attacked[name],
            1e4 * honest[name] / hours if hours else None,
            attacked[name] / attacks if attacks else None,
            attacked[name] / (honest[name] + attacked[name]) if honest[name] + attacked[name] else None,
            revocations[name],
            challenges[name],
        )
        for name in (detection.id for detection in DETECTIONS)
        if honest[name] or attacked[name] or revocations[name] or challenges[name]
    ]
    return sorted(results, key=lambda result: -result.honest_sessions)


def ordering(observed: Iterable[ObservedSession]) -> Ordering:
    """How well the scores of sessions separate attacked ones from honest ones; of equal ones, those of the model."""
    observed = list(observed)
    is_attacked = np.array([seen.session.is_attacked for seen in observed], np.bool_)
    pairs = np.array([(seen.score, seen.anomaly) for seen in observed]).reshape(-1, 2)
    ranks = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    attacked, honest = ranks[is_attacked], np.sort(ranks[~is_attacked])
    if not attacked.size or not honest.size:
        return Ordering(None, None)
    below, upto = np.searchsorted(honest, attacked, "left"), np.searchsorted(honest, attacked, "right")
    allowed = int(HONEST_SHARE * honest.size)
    threshold = honest[honest.size - 1 - allowed]
    return Ordering(float((below + upto).mean() / 2 / honest.size), float((attacked > threshold).mean()))


def _is_in(phase: Phase | None, session: LabelledSession, at: int) -> bool:
    return phase is None or (at < session.first_day_until) == (phase == "first_day")
