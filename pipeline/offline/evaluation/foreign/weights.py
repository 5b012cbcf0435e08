"""Weights of evidence in companies that nobody here wrote: what each detection adds to what the model says.

Facts keep their weights: they end a session alone, whatever else is known. The rest is fitted to the sessions of
labelled worlds, the model first: a suspicion has the weight by which it makes an attack likelier *beyond* the model's
score, and next to none if it adds nothing (:mod:`models.detectors.evidence_weights`, with an expectation of zero).

A suspicion that honest sessions hardly ever show leads alone to the level that its severity names: nobody pays for
that, and the attack of which it tells may be in none of the worlds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import BANDS
from models.detectors.calibration import bands_of
from models.detectors.evidence_weights import fit
from models.events.columns import KINDS
from pipeline.decisions.policy import BudgetLimits, Policy
from pipeline.detections import DETECTIONS, Detection
from pipeline.offline.evaluation.fitting import BAND_EXPECTED, Fitted, scaled
from pipeline.offline.evaluation.foreign.learning import Taught

Floats = NDArray[np.float64]
SPREAD: Final = 1.0
"""Standard deviation of the weight of a suspicion around zero, in log-odds."""
ASKED_SHARE: Final = 0.006
"""Share of the honest sessions of people above the threshold of MEDIUM: with six hours a session, a fifth of the budget
of 5 in 1,000 hours (:class:`pipeline.decisions.policy.BudgetLimits`). Guaranteed suspicions ask as many again, and a
tenant that is worse than most is held to the budget by it."""
HELD_SHARE: Final = 0.002
"""Share of all honest sessions above the threshold of HIGH."""
RARE_SHARE: Final = 0.003
"""Share of the honest sessions of each kind of principal that may show a suspicion whose severity is guaranteed; one
session of a kind always may."""
PROMISED: Final = ("telemetry_silent_while_active",)
"""Suspicions that ask whatever they cost: what this product is for. The budget limits what they cost a tenant."""
UNSEEN: Final = ("telemetry_silent_while_idle",)
"""Suspicions that are no news: most devices at rest say nothing, and what counts is silence while calls go on."""
LEAST: Final = 0.1
"""Weight of a suspicion that adds nothing: so that it is shown."""
PERSON: Final = KINDS.index("human")


def fitted_weights(taught: Taught, policy: Policy) -> Fitted:
    """Weights, prior and thresholds for *taught*; facts have those of *policy*.

    Raises:
        ValueError: one of the classes is missing.
    """
    rows, attack, kinds = sessions_of(taught)
    detections = len(DETECTIONS)
    evidence = np.array([*policy.weights(), *BAND_EXPECTED])
    bands = np.arange(len(evidence)) >= detections
    suspicions = np.array([*(not detection.is_fact for detection in DETECTIONS), *(False for _ in BANDS)])
    evidence[bands] = fit(rows[:, bands], attack, evidence[bands]).evidence
    model_part = rows[:, bands] @ evidence[bands]
    none = np.zeros(int(suspicions.sum()))
    evidence[suspicions] = fit(rows[:, suspicions], attack, none, SPREAD, offset=model_part).evidence
    shown = suspicions & np.array([*(detection.id not in UNSEEN for detection in DETECTIONS), *(False for _ in BANDS)])
    evidence[shown] = np.maximum(evidence[shown], LEAST)
    evidence[suspicions & ~shown] = 0.0
    evidence = np.round(evidence, 2)
    suspected = rows[:, bands | suspicions] @ evidence[bands | suspicions]
    medium = _exceeded_by(suspected[~attack & (kinds == PERSON)], ASKED_SHARE)
    high = max(_exceeded_by(suspected[~attack], HELD_SHARE), medium + 1.0)
    of_kind = [rows[~attack & (kinds == kind), :detections] for kind in np.unique(kinds)]
    is_rare = np.all([part.sum(axis=0) <= max(RARE_SHARE * len(part), 1) for part in of_kind], axis=0)
    for bit, detection in enumerate(DETECTIONS):
        if detection.is_fact or is_rare[bit] or detection.id in PROMISED:
            evidence[bit] = max(evidence[bit], _guaranteed(detection, medium, high))
    return scaled(evidence, medium, high, rows.shape[0], int(attack.sum()))


def sessions_of(taught: Taught) -> tuple[Floats, NDArray[np.bool_], NDArray[np.uint8]]:
    """The evidence of each session before an attack and from it on: rows of zeros and ones, attack, kind.

    A session whose highest score is in band *b* has ones in the first *b* columns of bands.
    """
    vectors = taught.vectors
    owners, first, of = np.unique(vectors.sessions * 2 + vectors.attack, return_index=True, return_inverse=True)
    rows = np.zeros((len(owners), len(DETECTIONS) + len(BANDS)))
    for bit in range(len(DETECTIONS)):
        held = vectors.mask[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1) != 0
        rows[of[held], bit] = 1.0
    highest = np.zeros(len(owners), np.uint8)
    np.maximum.at(highest, of, bands_of(taught.scores))
    rows[:, len(DETECTIONS) :] = highest[:, None] > np.arange(len(BANDS))
    return rows, vectors.attack[first], vectors.kinds[first]


def _guaranteed(detection: Detection, medium: float, high: float) -> float:
    """The weight with which *detection* leads alone to the level that its severity names, if there is one.

    To MEDIUM with a step of the budget to spare: one person who was asked for nothing does not silence it for all.
    """
    asked = min(medium + BudgetLimits().raise_by, high - 0.03)
    return math.ceil({"LOW": 0.0, "MEDIUM": asked, "HIGH": high}[detection.severity] * 100) / 100


def _exceeded_by(values: Floats, share: float) -> float:
    return float(np.quantile(values, 1.0 - share)) + 0.005


def source_lines(worlds: Sequence[str]) -> tuple[str, ...]:
    """Lines that describe the training data of *worlds*."""
    return (
        "Learned by `python -m pipeline.offline.evaluation --worlds FOLDER --fit`; the defaults of a policy file.",
        *wrap(f"{len(worlds)} labelled worlds: {', '.join(worlds)}.", 110),
    )
