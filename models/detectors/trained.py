"""A trained detector: fitted, calibrated for each kind of principal, and with the usual values that explain a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.detectors import explanation
from models.detectors.base import FORMER_BANDS, Moved
from models.detectors.calibration import QUANTILES, bands_of, calibrated, knots_of, with_all_knots
from models.detectors.explanation import NORMS
from models.detectors.labelled import BoostedStage, Labels, SecondStage, fit_second, second_stage
from models.detectors.methods import METHODS, Arrays, Scorer, fitted
from models.events.columns import KINDS
from models.features.table import FEATURE_NAMES, as_seen_by_models

Floats = NDArray[np.float64]
Seen = NDArray[np.float32]
Kinds = NDArray[np.uint8]
Cohorts = Literal["global", "calibrated", "each"]

COHORTS: Final[tuple[Cohorts, ...]] = ("global", "calibrated", "each")
"""One fit and one scale for all principals; one fit, and a scale for each kind; a fit and a scale for each kind."""
MIN_VECTORS: Final = 1_000
"""Vectors needed for a fit; a kind with fewer uses that of all principals."""
METHOD: Final = "components"
COHORT: Final[Cohorts] = "global"
"""Defaults of `session-risk train`, chosen by measurement: DETECTORS.md."""


@dataclass(frozen=True)
class Trained:
    """A fitted, calibrated detector.

    Attributes:
        name: of the model.
        method: how it scores, a name of :data:`models.detectors.methods.METHODS`.
        scorers: the fitted ones; the first to all principals.
        scorer_of: which of them scores a principal of each kind, ``(len(KINDS),)``.
        knots: raw scores at the calibration's quantiles, for each kind, ``(len(KINDS), q)``.
        norms: usual values of each kind at :data:`NORMS`, own units, ``(len(KINDS), len(NORMS), f)``.
        second: the second stage, `None` without labels.
        second_knots: as *knots*, of both stages together.
    """

    name: str
    method: str
    scorers: tuple[Scorer, ...]
    scorer_of: NDArray[np.int64]
    knots: Floats
    norms: Floats
    second: SecondStage | None = None
    second_knots: Floats | None = None

    @property
    def parts(self) -> dict[str, Arrays]:
        """Everything learned, by part and name; :func:`from_parts` is the inverse."""
        arrays = {"scorer_of": self.scorer_of, "knots": self.knots, "norms": self.norms}
        for number, scorer in enumerate(self.scorers):
            arrays |= {f"{number}.{name}": array for name, array in scorer.arrays.items()}
        parts = {DETECTOR: arrays}
        if self.second is not None and self.second_knots is not None:
            parts[SECOND] = {**self.second.arrays, "both_knots": self.second_knots}
        return parts

    @cached_property
    def id(self) -> str:
        """``name@hash``; the hash covers the method and every array."""
        digest = blake2b(self.method.encode(), digest_size=4)
        for part, arrays in sorted(self.parts.items()):
            for name, array in sorted(arrays.items()):
                digest.update(f"{part}/{name}".encode() + array.tobytes())
        return f"{self.name}@{digest.hexdigest()}"

    @property
    def is_general(self) -> bool:
        """Whether labelled attacks of many companies taught it (:class:`models.detectors.labelled.BoostedStage`)."""
        return isinstance(self.second, BoostedStage)

    @property
    def thresholds(self) -> Floats:
        """Raw scores of all principals that 1, 0.1 and 0.01 % of normal traffic exceed, for the card."""
        return self.knots[0, np.isin(QUANTILES, FORMER_BANDS)]

    def first(self, seen: Seen, kinds: Kinds) -> Floats:
        """Scores of the first stage alone, ``(n,)``."""
        return calibrated(self.raw(seen, kinds), self.knots, kinds)

    def score(self, seen: Seen, kinds: Kinds) -> Floats:
        """How anomalous each vector ``(n, f)`` is for a principal of its kind ``(n,)``: ``(n,)`` in [0, 1)."""
        first = self.first(seen, kinds)
        if self.second is None or self.second_knots is None:
            return first
        return calibrated(self.second.raw(seen, first), self.second_knots, kinds)

    def band(self, scores: Floats) -> NDArray[np.uint8]:
        """How many of :data:`BANDS` each score is above, ``(n,)``."""
        return bands_of(scores)

    def explain(self, values: Floats, kind: int, limit: int) -> list[Moved]:
        """The features that made one vector ``(f,)``, in own units, anomalous: strongest first, at most *limit*."""
        return explanation.moved(partial(self.unsaturated, kind=kind), values, self.norms[kind], limit)

    def unsaturated(self, seen: Seen, kind: int) -> Floats:
        """Scores of vectors ``(n, f)`` of one kind on an unbounded scale, ``(n,)``, which explanations need."""
        kinds = np.full(len(seen), kind, np.uint8)
        if self.second is None:
            return self.raw(seen, kinds)
        return self.second.raw(seen, self.first(seen, kinds))

    def with_labels(self, labels: Labels, normal: Seen, kinds: Kinds) -> Trained:
        """The same detector with a second stage, which *normal* ``(m, f)`` of *kinds* ``(m,)`` calibrates.

        Raises:
            TooFewLabels: fewer labelled sessions than a regression needs.
        """
        first = self.first(normal, kinds)
        second = fit_second(labels, self.first(labels.seen, labels.kinds), normal, first)
        return replace(self, second=second, second_knots=knots_by_kind(second.raw(normal, first), kinds))

    def raw(self, seen: Seen, kinds: Kinds) -> Floats:
        """Raw scores of the first stage, before calibration, ``(n,)``."""
        if len(self.scorers) == 1:
            return self.scorers[0].raw(seen)
        raw = np.empty(len(seen))
        scorer_of = self.scorer_of[kinds]
        for number, scorer in enumerate(self.scorers):
            chosen = np.flatnonzero(scorer_of == number)
            if chosen.size:
                raw[chosen] = scorer.raw(seen[chosen])
        return raw


DETECTOR: Final = "detector"
SECOND: Final = "second"
"""Names of the parts of a detector."""


def fit(
    values: Floats, kinds: Kinds, *, name: str, seed: int, method: str = METHOD, cohorts: Cohorts = COHORT
) -> Trained:
    """Fit and calibrate a detector on normal traffic.

    Args:
        values: feature vectors in own units, ``(n, f)`` in the order of ``FEATURES``.
        kinds: kinds of their principals, ``(n,)`` indices of :data:`models.events.columns.KINDS`.
        name: of the model.
        seed: the same data and seed give the same bytes.
        method: a name of :data:`models.detectors.methods.METHODS`.
        cohorts: one of :data:`COHORTS`.

    Raises:
        ValueError: fewer than 1,000 vectors, or another number of features.
    """
    if values.ndim != 2 or values.shape[1] != len(FEATURE_NAMES):
        raise ValueError(f"training needs (n, {len(FEATURE_NAMES)}) values, got {values.shape}")
    if len(values) < MIN_VECTORS:
        raise ValueError(f"training needs at least 1,000 scored vectors, the recording gave {len(values)}")
    seen = as_seen_by_models(np.ascontiguousarray(values.T))
    scorers = [fitted(METHODS[method], seen, seed)]
    scorer_of = np.zeros(len(KINDS), np.int64)
    if cohorts == "each":
        for kind in _frequent(kinds):
            scorer_of[kind] = len(scorers)
            scorers.append(fitted(METHODS[method], seen[kinds == kind], seed))
    uncalibrated = Trained(name, method, tuple(scorers), scorer_of, np.zeros(0), _norms(values, kinds))
    return replace(uncalibrated, knots=_knots(uncalibrated.raw(seen, kinds), kinds, by_kind=cohorts != "global"))


def from_parts(name: str, method: str, parts: Mapping[str, Arrays]) -> Trained:
    """The inverse of :attr:`Trained.parts`.

    Raises:
        KeyError, ValueError: the arrays are not those of a *method* of this version.
    """
    arrays = parts[DETECTOR]
    scorer_of = arrays["scorer_of"]
    scorers = tuple(
        METHODS[method].from_arrays(
            {text.partition(".")[2]: values for text, values in arrays.items() if text.startswith(f"{n}.")}
        )
        for n in range(int(scorer_of.max()) + 1)
    )
    second = parts.get(SECOND)
    detector = Trained(
        name,
        method,
        scorers,
        scorer_of,
        with_all_knots(arrays["knots"]),
        arrays["norms"],
        second_stage(second) if second else None,
        with_all_knots(second["both_knots"]) if second else None,
    )
    if detector.norms.shape != (len(KINDS), len(NORMS), len(FEATURE_NAMES)):
        raise ValueError(f"it knows {detector.norms.shape[-1]} features, here are {len(FEATURE_NAMES)}")
    if detector.knots.shape != (len(KINDS), len(QUANTILES)):
        raise ValueError("its calibration is of another version")
    return detector


def _frequent(kinds: Kinds) -> list[int]:
    """Kinds of principal with enough vectors for a fit or scale of their own."""
    return [kind for kind in range(len(KINDS)) if np.count_nonzero(kinds == kind) >= MIN_VECTORS]


def knots_by_kind(raw: Floats, kinds: Kinds) -> Floats:
    """Scales of each kind of principal, ``(len(KINDS), q)``, from the scores *raw* of normal traffic, ``(n,)``."""
    return _knots(raw, kinds, by_kind=True)


def _knots(raw: Floats, kinds: Kinds, *, by_kind: bool) -> Floats:
    knots = np.repeat(knots_of(raw)[None], len(KINDS), axis=0)
    for kind in _frequent(kinds) if by_kind else ():
        knots[kind] = knots_of(raw[kinds == kind])
    return knots


def _norms(values: Floats, kinds: Kinds) -> Floats:
    norms = np.repeat(np.quantile(values, NORMS, axis=0)[None], len(KINDS), axis=0)
    for kind in _frequent(kinds):
        norms[kind] = np.quantile(values[kinds == kind], NORMS, axis=0)
    return norms
