"""The second stage learns from labels: what it raises, what it leaves alone, and how many it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.artefact import (
    load,
    save,
)
from models.detector import BANDS
from models.detectors.labelled import TooFewLabels
from toy_detectors import TRAINED, labelled, refined
from toy_traffic import kinds_of, seen_of, traffic


def test_labels_raise_what_was_labelled_and_leave_the_bands_of_normal_traffic() -> None:
    bare, detector = TRAINED["components", "calibrated"], refined()
    normal, kinds = seen_of(traffic(2_400, 1)), kinds_of(2_400)
    tried = labelled(20, 0, seed=9)

    before, after = (one.score(tried.seen, tried.kinds) for one in (bare, detector))

    assert (detector.band(after) >= 1).mean() > (bare.band(before) >= 1).mean() + 0.4
    bands = detector.band(detector.score(normal, kinds))
    assert [int((bands >= band).sum()) for band in (1, 2, 3)] == [
        pytest.approx(2_400 * (1 - share), abs=2.5) for share in BANDS
    ]


def test_what_nobody_labelled_is_not_talked_away() -> None:
    far, kinds = seen_of(traffic(50, 4) * 1e4 + 1e4), kinds_of(50)
    detector = refined()

    assert detector.band(detector.score(far, kinds)).min() >= 1


def test_a_second_stage_comes_back_from_disk_bit_for_bit(tmp_path: Path) -> None:
    detector = refined()
    save(detector, tmp_path, {})
    seen, kinds = seen_of(traffic(300, 3)), kinds_of(300)

    again = load(tmp_path)

    assert again.id == detector.id != TRAINED["components", "calibrated"].id
    assert again.score(seen, kinds).tobytes() == detector.score(seen, kinds).tobytes()


@pytest.mark.parametrize(("attacked", "honest"), [(0, 0), (4, 40), (10, 19)])
def test_too_few_labels_are_refused_and_it_is_said_how_many_there_are(attacked: int, honest: int) -> None:
    labels = labelled(attacked, honest)
    values = traffic(2_400, 1)

    with pytest.raises(TooFewLabels, match=f"{attacked} attacked and {honest} honest sessions"):
        TRAINED["components", "calibrated"].with_labels(labels, seen_of(values), kinds_of(2_400))


def test_what_is_odder_is_never_less_suspect_for_it() -> None:
    labels = labelled(25, 40)
    swapped = replace(labels, attack=~labels.attack)

    detector = TRAINED["components", "calibrated"].with_labels(
        swapped, seen_of(traffic(2_400, 1)), kinds_of(2_400)
    )

    assert detector.second is not None
    assert detector.second.weights[-1] >= 0
