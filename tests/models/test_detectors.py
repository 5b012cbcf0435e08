"""Properties of every detector, checked for each method, and for one with a second stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.artefacts import ARRAYS, CARD, load, save
from models.detectors.base import BANDS, NoDetector
from models.detectors.methods import METHODS
from models.detectors.trained import COHORTS, Cohorts, Trained, fit
from models.events.columns import KINDS
from tests.support.toy_detectors import TRAINED, every_detector, every_variant, learned
from tests.support.toy_traffic import AGENT, COUNT, HUMAN, kinds_of, seen_of, traffic


@pytest.mark.parametrize("method", METHODS)
def test_the_same_data_and_seed_give_the_same_bytes(tmp_path: Path, method: str) -> None:
    detector, again = TRAINED[method, "each"], learned(method, "each")
    for name, trained in (("a", detector), ("b", again)):
        save(trained, tmp_path / name, {"seed": 7})

    files = [[(tmp_path / name / file).read_bytes() for file in (ARRAYS, CARD)] for name in ("a", "b")]
    assert files[0] == files[1]
    assert detector.id == again.id


@pytest.mark.parametrize("method", ["forest", "half_space_trees", "covariance"])
def test_another_seed_gives_another_detector(method: str) -> None:
    assert learned(method, seed=8).id != TRAINED[method, "calibrated"].id


@every_detector
def test_a_detector_is_loaded_from_disk_bit_for_bit(tmp_path: Path, detector: Trained) -> None:
    save(detector, tmp_path, {"trained_on": "toy"})
    seen, kinds = seen_of(traffic(300, 3)), kinds_of(300)

    again = load(tmp_path)

    assert (again.id, again.name, again.method) == (detector.id, "toy", detector.method)
    assert again.score(seen, kinds).tobytes() == detector.score(seen, kinds).tobytes()
    assert again.explain(traffic(1, 3)[0] * 50, HUMAN, 5) == detector.explain(traffic(1, 3)[0] * 50, HUMAN, 5)


@every_detector
def test_bands_are_shares_of_what_was_learned(detector: Trained) -> None:
    seen, kinds = seen_of(traffic(2_400, 1)), kinds_of(2_400)

    bands = detector.band(detector.score(seen, kinds))

    for band, share in enumerate(BANDS, start=1):
        assert int((bands >= band).sum()) == pytest.approx(2_400 * (1 - share), abs=2.5)


@every_variant
@given(pair=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)))
@settings(max_examples=10)
def test_the_score_of_a_row_does_not_depend_on_other_rows_or_their_order(
    detector: Trained, pair: tuple[int, int]
) -> None:
    seen, kinds = seen_of(traffic(9, pair[0])), kinds_of(9)
    order = np.random.default_rng(pair[1]).permutation(9)

    scores = detector.score(seen, kinds)

    assert detector.score(seen[order], kinds[order]).tolist() == scores[order].tolist()
    assert [float(detector.score(seen[i : i + 1], kinds[i : i + 1])[0]) for i in range(9)] == scores.tolist()


@every_variant
@pytest.mark.parametrize("value", [0.0, 1e12, -1.0, float(np.finfo(np.float32).max)])
def test_every_score_is_from_zero_to_below_one(detector: Trained, value: float) -> None:
    seen = np.full((len(KINDS), COUNT), value, np.float32)
    seen[0, 0] = -seen[0, 0]

    scores = detector.score(seen, np.arange(len(KINDS), dtype=np.uint8))

    assert ((scores >= 0) & (scores < 1)).all()


@every_detector
def test_a_vector_far_from_normal_in_every_feature_scores_above_normal_traffic(detector: Trained) -> None:
    far = detector.score(seen_of(traffic(50, 4) * 1e4 + 1e4), kinds_of(50))

    assert detector.band(far).min() >= 1


@every_variant
def test_the_usual_vector_is_in_no_band(detector: Trained) -> None:
    usual = detector.norms[:, 1]

    scores = detector.score(seen_of(usual), np.arange(len(KINDS), dtype=np.uint8))

    assert detector.band(scores).tolist() == [0] * len(KINDS)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (np.zeros((999, COUNT)), "at least 1,000 scored vectors, the recording gave 999"),
        (np.zeros((2_000, 3)), rf"needs \(n, {COUNT}\) values, got \(2000, 3\)"),
        (np.zeros(5), "needs"),
    ],
)
def test_too_little_to_learn_from_is_refused(values: NDArray[np.float64], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fit(values, np.zeros(len(values), np.uint8), name="toy", seed=1)


def test_no_detector_finds_nothing() -> None:
    seen, nobody = np.ones((3, COUNT), np.float32), NoDetector()

    scores = nobody.score(seen, np.zeros(3, np.uint8))

    assert (scores.tolist(), nobody.band(scores).tolist()) == ([0.0] * 3, [0] * 3)
    assert nobody.explain(np.ones(COUNT), HUMAN, 3) == []


# --- kinds of principal -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cohorts", ["calibrated", "each"])
def test_a_vector_that_is_anomalous_for_people_may_be_normal_for_agents(cohorts: Cohorts) -> None:
    values, kinds = traffic(4_000, 1), kinds_of(4_000)
    values[kinds == AGENT] *= 30.0
    busy = seen_of(values[kinds == AGENT][:40])

    detector = fit(values, kinds, name="toy", seed=1, method="components", cohorts=cohorts)

    human, agent = (detector.score(busy, np.full(40, kind, np.uint8)) for kind in (HUMAN, AGENT))
    assert (human > agent).mean() > 0.9


def test_a_kind_with_little_traffic_uses_the_fit_of_all() -> None:
    kinds = kinds_of(2_400)
    kinds[:10] = KINDS.index("service")

    for cohorts in COHORTS:
        detector = fit(traffic(2_400, 1), kinds, name="toy", seed=7, method="components", cohorts=cohorts)
        rare, unknown = KINDS.index("service"), 0
        assert detector.norms[rare].tolist() == detector.norms[unknown].tolist()
        assert detector.knots[rare].tolist() == detector.knots[unknown].tolist()
        assert detector.scorer_of[rare] == detector.scorer_of[unknown] == 0
