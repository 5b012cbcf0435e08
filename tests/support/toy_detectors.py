"""A detector of toy traffic by every method, and one with a second stage; all are trained once."""

from __future__ import annotations

import numpy as np
import pytest

from models.detectors import distance
from models.detectors.labelled import Labels
from models.detectors.methods import METHODS
from models.detectors.trained import COHORTS, Cohorts, Trained, fit
from tests.support.toy_traffic import kinds_of, seen_of, traffic

VARIANTS = [(method, cohorts) for method in METHODS for cohorts in COHORTS]


def learned(method: str, cohorts: Cohorts = "calibrated", seed: int = 7) -> Trained:
    """A detector of toy traffic; a covariance of it needs no more than a few vectors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "SAMPLE", 300)
        return fit(traffic(2_400, 1), kinds_of(2_400), name="toy", seed=seed, method=method, cohorts=cohorts)


TRAINED = {variant: learned(*variant) for variant in VARIANTS}
every_variant = pytest.mark.parametrize("detector", TRAINED.values(), ids=map("-".join, VARIANTS))


def labelled(attacked: int, honest: int, seed: int = 5) -> Labels:
    """Four vectors a session; attacks are where three features are a little high together."""
    values = traffic(4 * (attacked + honest), seed)
    attack = np.arange(len(values)) < 4 * attacked
    values[attack, 1:4] = 300.0
    sessions = np.arange(len(values)) // 4
    return Labels(seen_of(values), kinds_of(len(values)), attack, sessions)


REFINED = TRAINED["components", "calibrated"].with_labels(labelled(10, 40), seen_of(traffic(2_400, 1)), kinds_of(2_400))
"""A detector with a second stage."""
every_detector = pytest.mark.parametrize(
    "detector", [*TRAINED.values(), REFINED], ids=[*map("-".join, VARIANTS), "second stage"]
)
