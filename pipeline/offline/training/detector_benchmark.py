"""Which detector? Every way of scoring, trained on one simulated population and tried on another.

A population is simulated and replayed as training does it; its families are whatever `truth.jsonl` says. What
is measured is the detectors alone: no rule and no policy has a say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import mean
from time import perf_counter
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from models.detectors.explanation import Way, shares
from models.detectors.labelled import Labels, TooFewLabels
from models.detectors.methods import METHODS
from models.detectors.trained import COHORT, COHORTS, Trained, fit
from models.features.table import as_seen_by_models
from pipeline.offline.training.vectors import Vectors

Floats = NDArray[np.float64]

LABELLED: Final = 0.01
"""Share of the training vectors that somebody labelled."""
ALARMS: Final = (0.001, 0.01)
"""False positive rates at which recall is told."""
CHUNK: Final = 512
ODDITIES: Final = 200
"""Vectors in which one feature is made odd, to see whether an explanation finds it."""
WAYS: Final[tuple[Way, ...]] = ("removed", "put_in", "both")


class Variant(NamedTuple):
    """What is compared: a method, whom it is fitted to, and which families were labelled: none, all, half."""

    method: str
    cohorts: str
    labels: str = "none"


@dataclass(slots=True)
class Figures:
    """What was measured of one variant, a value a seed; of families, the share of attacked sessions found."""

    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    families: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@dataclass(slots=True)
class Result:
    """Everything measured.

    Attributes:
        variants: figures by variant.
        explained: by way of explaining and method: how often the feature that was made odd came first.
        recordings: by recording and variant: share of its attacked sessions with a vector in each band.
        vectors: how many vectors were learned from and tried on, a pair a seed.
        complaints: what could not be trained, and why.
    """

    variants: defaultdict[Variant, Figures] = field(default_factory=lambda: defaultdict(Figures))
    explained: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    recordings: dict[tuple[str, Variant], Floats] = field(default_factory=dict)
    vectors: list[tuple[int, int]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def compare(
    populations: Iterator[tuple[int, Vectors, Vectors]],
    recordings: dict[str, Vectors],
    tell: Callable[[str], None],
) -> Result:
    """Train every variant on the first, try it on the second vectors of each (seed, trained on, tried on).

    *recordings*: real ones by name, tried with the variants of the first seed; *tell* hears of progress.
    """
    result = Result()
    for seed, known, tried in populations:
        result.vectors.append((int(known.honest.sum()), len(tried)))
        for variant, detector, seconds in _trained(known, seed, result):
            tell(f"seed {seed}: {' '.join(variant)}")
            measured = result.variants[variant]
            _measure(detector, tried, measured)
            measured.figures["fit_s"].append(seconds)
            if variant.cohorts == COHORT and variant.labels == "none":
                for way in WAYS:
                    result.explained[way, variant.method].append(_explains(detector, known, seed, way))
            if len(result.vectors) == 1:
                for name, vectors in recordings.items():
                    result.recordings[name, variant] = found(detector, vectors)
    return result


def _trained(known: Vectors, seed: int, result: Result) -> Iterator[tuple[Variant, Trained, float]]:
    """Every variant, fitted to the sessions that were not attacked, and the seconds it took."""
    honest = known.take(known.honest)
    values, kinds, normal = honest.values, honest.kinds, honest.seen
    for method in METHODS:
        for cohorts in COHORTS:
            begun = perf_counter()
            detector = fit(values, kinds, name=method, seed=seed, method=method, cohorts=cohorts)
            seconds = perf_counter() - begun
            yield Variant(method, cohorts), detector, seconds
            if cohorts != COHORT:
                continue
            for which in ("all", "half"):
                begun = perf_counter()
                try:
                    more = detector.with_labels(_labels(known, seed, which), normal, kinds)
                except TooFewLabels as error:
                    result.complaints.append(f"seed {seed}, {which} families labelled: {error}")
                    continue
                yield Variant(method, cohorts, which), more, seconds + perf_counter() - begun


def in_half(family: str) -> bool:
    """Whether *family* is among those that are labelled when only half are, by its name alone."""
    return crc32(family.encode()) % 2 == 0


def _labels(known: Vectors, seed: int, which: str) -> Labels:
    """What somebody said of one vector in a hundred, of attacks of all or of half the families."""
    drawn = np.random.default_rng(seed).random(len(known)) < LABELLED
    if which == "half":
        values = np.array([in_half(family or "") for family in known.truth_family.tolist()], np.bool_)
        drawn &= values | ~known.attacked
    vectors = known.take(drawn)
    return Labels(vectors.seen, vectors.kinds, vectors.attacked, vectors.session_numbers)


def _measure(detector: Trained, tried: Vectors, measured: Figures) -> None:
    """Add what *detector* makes of *tried*."""
    scores, spent = _scored(detector, tried.seen, tried.kinds)
    figures, attack = measured.figures, tried.attacked
    figures["auc"].append(float(roc_auc_score(attack, scores)))
    figures["ap"].append(float(average_precision_score(attack, scores)))
    figures["us_row"].append(spent)
    for rate in ALARMS:
        over = scores > np.quantile(scores[~attack], 1.0 - rate)
        figures[f"recall_{rate}"].append(float(over[attack].mean()))
        families = sessions_found(tried, over)
        figures[f"families_{rate}"].append(mean(families.values()))
        if rate == ALARMS[0]:
            for family, share in families.items():
                measured.families[family].append(share)


def _scored(detector: Trained, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> tuple[Floats, float]:
    """Scores in chunks as a worker scores, and the µs a row took, the median of the chunks."""
    list_read, spent = [], []
    for at in range(0, len(seen), CHUNK):
        part, kind = seen[at : at + CHUNK], kinds[at : at + CHUNK]
        begun = perf_counter()
        list_read.append(detector.score(part, kind))
        spent.append((perf_counter() - begun) / len(part) * 1e6)
    return np.concatenate(list_read), float(np.median(spent))


def sessions_found(tried: Vectors, over: NDArray[np.bool_]) -> dict[str, float]:
    """By family: the share of its attacked sessions that have a vector of the attack among *over*."""
    sessions, rows = tried.sessions, np.flatnonzero(tried.attacked)
    family = {sessions[row]: tried.truth_family[row] for row in rows.tolist()}
    hit = {sessions[row] for row in rows[over[rows]].tolist()}
    found_in: defaultdict[str, list[bool]] = defaultdict(list)
    for session, name in family.items():
        found_in[name].append(session in hit)
    return {name: mean(found) for name, found in sorted(found_in.items())}


def found(detector: Trained, vectors: Vectors) -> Floats:
    """Share of attacked sessions with a vector in band 1, 2 and 3 or above, ``(3,)``."""
    bands = detector.band(vectors.scores(detector))
    return np.array([mean(sessions_found(vectors, bands >= band).values() or [0.0]) for band in (1, 2, 3)])


def _explains(detector: Trained, known: Vectors, seed: int, way: Way) -> float:
    """How often the feature comes first that was made odd in an ordinary vector: twice its highest."""
    random = np.random.default_rng(seed)
    high, kinds = known.values.max(axis=0), known.kinds
    hits = 0
    for _ in range(ODDITIES):
        row = int(random.integers(len(known)))
        feature, kind = int(random.integers(len(high))), int(kinds[row])
        values = np.stack([known.values[row], detector.norms[kind, 1]], axis=1)
        values[feature, 0] = high[feature] * 2.0 + 1.0
        vector, usual = as_seen_by_models(values)
        gain = shares(partial(detector.unsaturated, kind=kind), vector, usual, way)
        hits += int(np.argmax(gain)) == feature
    return hits / ODDITIES
