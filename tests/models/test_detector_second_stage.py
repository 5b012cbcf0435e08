"""The second stage: what labels raise, what they do not change, and how many are needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models.detectors.labelled import LogisticStage, TooFewLabels
from tests.support.toy_detectors import REFINED, TRAINED, labelled
from tests.support.toy_traffic import kinds_of, seen_of, traffic


def test_labels_raise_what_was_labelled_and_make_another_detector() -> None:
    bare, detector = TRAINED["components", "calibrated"], REFINED
    tried = labelled(20, 0, seed=9)

    before, after = (trained.score(tried.seen, tried.kinds) for trained in (bare, detector))

    assert (detector.band(after) >= 1).mean() > (bare.band(before) >= 1).mean() + 0.4
    assert detector.id != bare.id


@pytest.mark.parametrize(("attacked", "honest"), [(0, 0), (4, 40), (10, 19)])
def test_too_few_labels_are_refused_with_their_number(attacked: int, honest: int) -> None:
    labels = labelled(attacked, honest)
    values = traffic(2_400, 1)

    with pytest.raises(TooFewLabels, match=f"{attacked} attacked and {honest} honest sessions"):
        TRAINED["components", "calibrated"].with_labels(labels, seen_of(values), kinds_of(2_400))


def test_a_higher_anomaly_score_never_lowers_the_log_odds() -> None:
    labels = labelled(25, 40)
    swapped = replace(labels, attack=~labels.attack)

    detector = TRAINED["components", "calibrated"].with_labels(swapped, seen_of(traffic(2_400, 1)), kinds_of(2_400))

    assert isinstance(detector.second, LogisticStage)
    assert detector.second.weights[-1] >= 0
