"""What every detector promises, asked of each in the table; and how a trained one is kept on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from models.artefact import (
    ARRAYS,
    CARD,
    ROLES,
    BadModel,
    file_of,
    load,
    load_reference,
    load_roles,
    save,
    window,
)
from models.columns import KINDS
from models.detector import BANDS, NoDetector
from models.detectors import distance
from models.detectors import forest as forests
from models.detectors.calibration import QUANTILES, bands_of, calibrated, knots_of, surprise
from models.detectors.explanation import shares
from models.detectors.labelled import Labels, TooFewLabels
from models.detectors.methods import METHODS
from models.detectors.trained import COHORTS, Cohorts, Trained, fit, of_parts
from models.features import FEATURE_NAMES, FEATURE_SET, as_seen_by_models
from models.npz import pack
from role_samples import sample_roles

COUNT = len(FEATURE_NAMES)
VARIANTS = [(method, cohorts) for method in METHODS for cohorts in COHORTS]
HUMAN, AGENT = KINDS.index("human"), KINDS.index("agent")


def traffic(count: int, seed: int) -> NDArray[np.float64]:
    """Vectors as heavy-tailed as traffic is, and as many-valued as some features are not."""
    random = np.random.default_rng(seed)
    values = random.lognormal(2.0, 1.5, (count, COUNT))
    values[:, ::7] = random.integers(0, 2, (count, len(range(0, COUNT, 7))))
    values[:, ::5] = 0.0
    return values


def kinds_of(count: int) -> NDArray[np.uint8]:
    """Half of them people, half agents."""
    return np.where(np.arange(count) % 2, HUMAN, AGENT).astype(np.uint8)


def seen_of(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return as_seen_by_models(np.ascontiguousarray(values.T))


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


def refined(method: str = "components") -> Trained:
    """A detector with a second stage."""
    values = traffic(2_400, 1)
    return TRAINED[method, "calibrated"].with_labels(labelled(10, 40), seen_of(values), kinds_of(2_400))


# --- what every detector promises -------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_the_same_data_and_seed_give_the_same_bytes(tmp_path: Path, method: str) -> None:
    detector, again = TRAINED[method, "each"], learned(method, "each")
    for name, one in (("a", detector), ("b", again)):
        save(one, tmp_path / name, {"seed": 7})

    files = [[(tmp_path / name / file).read_bytes() for file in (ARRAYS, CARD)] for name in ("a", "b")]
    assert files[0] == files[1]
    assert detector.id == again.id


@pytest.mark.parametrize("method", ["forest", "half_space_trees", "covariance"])
def test_another_seed_gives_another_detector(method: str) -> None:
    assert learned(method, seed=8).id != TRAINED[method, "calibrated"].id


@every_variant
def test_a_detector_comes_back_from_disk_bit_for_bit(tmp_path: Path, detector: Trained) -> None:
    save(detector, tmp_path, {"trained_on": "toy"})
    seen, kinds = seen_of(traffic(300, 3)), kinds_of(300)

    again = load(tmp_path)

    assert (again.id, again.name, again.method) == (detector.id, "toy", detector.method)
    assert again.score(seen, kinds).tobytes() == detector.score(seen, kinds).tobytes()
    assert again.explain(traffic(1, 3)[0] * 50, HUMAN, 5) == detector.explain(traffic(1, 3)[0] * 50, HUMAN, 5)


@every_variant
def test_bands_are_shares_of_what_was_learned(detector: Trained) -> None:
    seen, kinds = seen_of(traffic(2_400, 1)), kinds_of(2_400)

    bands = detector.band(detector.score(seen, kinds))

    for band, share in enumerate(BANDS, start=1):
        assert int((bands >= band).sum()) == pytest.approx(2_400 * (1 - share), abs=2.5)


@every_variant
@given(pair=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)))
@settings(max_examples=10, deadline=None)
def test_a_row_is_scored_alike_whatever_stands_beside_it_and_in_whatever_order(
    detector: Trained, pair: tuple[int, int]
) -> None:
    seen, kinds = seen_of(traffic(9, pair[0])), kinds_of(9)
    order = np.random.default_rng(pair[1]).permutation(9)

    scores = detector.score(seen, kinds)

    assert detector.score(seen[order], kinds[order]).tolist() == scores[order].tolist()
    assert [float(detector.score(seen[i : i + 1], kinds[i : i + 1])[0]) for i in range(9)] == scores.tolist()


@every_variant
@pytest.mark.parametrize("value", [0.0, 1e12, -1.0, float(np.finfo(np.float32).max)])
def test_whatever_is_seen_is_scored_between_nothing_and_one(detector: Trained, value: float) -> None:
    seen = np.full((len(KINDS), COUNT), value, np.float32)
    seen[0, 0] = -seen[0, 0]

    scores = detector.score(seen, np.arange(len(KINDS), dtype=np.uint8))

    assert ((scores >= 0) & (scores < 1)).all()


@every_variant
def test_what_is_far_from_normal_in_everything_is_odder_than_normal_traffic(detector: Trained) -> None:
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
def test_what_is_odd_for_people_may_be_an_agents_day(cohorts: Cohorts) -> None:
    values, kinds = traffic(4_000, 1), kinds_of(4_000)
    values[kinds == AGENT] *= 30.0
    busy = seen_of(values[kinds == AGENT][:40])

    detector = fit(values, kinds, name="toy", seed=1, method="components", cohorts=cohorts)

    human, agent = (detector.score(busy, np.full(40, kind, np.uint8)) for kind in (HUMAN, AGENT))
    assert (human > agent).mean() > 0.9


def test_a_kind_with_little_traffic_is_measured_by_all() -> None:
    kinds = kinds_of(2_400)
    kinds[:10] = KINDS.index("service")

    for cohorts in COHORTS:
        detector = fit(traffic(2_400, 1), kinds, name="toy", seed=7, method="components", cohorts=cohorts)
        rare, unknown = KINDS.index("service"), 0
        assert detector.norms[rare].tolist() == detector.norms[unknown].tolist()
        assert detector.knots[rare].tolist() == detector.knots[unknown].tolist()
        assert detector.scorer_of[rare] == detector.scorer_of[unknown] == 0


# --- calibration ------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-100, 100), min_size=2, max_size=60),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
)
@settings(deadline=None)
def test_a_calibrated_score_never_falls_and_never_is_one(known: list[float], raw: list[float]) -> None:
    knots = knots_of(np.array(known))

    scores = calibrated(np.sort(np.array(raw)), knots)

    assert (np.diff(scores) >= 0).all()
    assert scores[0] >= 0
    assert scores[-1] < 1


def test_a_raw_score_at_a_quantile_is_that_quantile_and_of_equal_ones_the_lowest() -> None:
    distinct = np.linspace(0.0, 9.0, len(QUANTILES))
    flat = np.array([0.0, *[1.0] * (len(QUANTILES) - 1)])

    assert calibrated(distinct, distinct).tolist() == QUANTILES.tolist()
    assert calibrated(np.array([0.0, 1.0, 2.0]), flat).tolist()[:2] == [0.0, QUANTILES[1]]
    assert bands_of(calibrated(np.array([9.0, 9.1]), distinct)).tolist() == [2, 3]


def test_surprise_is_told_in_bits() -> None:
    assert surprise(np.array([0.0, 0.5, 0.75])).tolist() == [0.0, 1.0, 2.0]


# --- the isolation forest ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "count", "sample"), [(1, 1_500, 256), (2, 3_000, 64), (3, 300, 300)])
def test_the_score_is_that_of_scikit_learn(seed: int, count: int, sample: int) -> None:
    seen = seen_of(traffic(count, seed))
    fitted = IsolationForest(n_estimators=20, max_samples=sample, random_state=seed).fit(seen)

    ours = forests.from_fitted(fitted)

    others = seen_of(traffic(500, seed + 100) * 3)
    for vectors in (seen, others):
        np.testing.assert_allclose(ours.raw(vectors), -fitted.score_samples(vectors), rtol=0, atol=1e-9)


def test_repeated_points_and_constant_features_are_scored_as_scikit_learn_does() -> None:
    seen = np.ones((400, COUNT), np.float32)
    seen[:5, 0] = [3, 3, 4, 5, 5]
    fitted = IsolationForest(n_estimators=10, max_samples=200, random_state=0).fit(seen)

    ours = forests.from_fitted(fitted)

    np.testing.assert_allclose(ours.raw(seen), -fitted.score_samples(seen), rtol=0, atol=1e-9)


def test_the_average_path_is_that_of_the_paper() -> None:
    harmonic = float(np.sum(1 / np.arange(1, 256)))

    assert forests.average_path(np.array([0, 1, 2])).tolist() == [0.0, 0.0, 1.0]
    assert float(forests.average_path(np.array(256))) == pytest.approx(2 * harmonic - 2 * 255 / 256, abs=0.01)


# --- the second stage -------------------------------------------------------------------------------------


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


# --- explanation ------------------------------------------------------------------------------------------

VARYING = [index for index in range(COUNT) if index % 5 and index % 7]
"""Features that `traffic` gives many values: a forest cannot cut along a constant, nor beyond a yes or no."""


@pytest.mark.parametrize("method", METHODS)
def test_the_feature_that_was_made_odd_is_told_first_with_what_is_usual(method: str) -> None:
    detector = TRAINED[method, "calibrated"]
    usual = detector.norms[HUMAN]

    first = []
    for feature in VARYING:
        values = usual[1].copy()
        values[feature] = 1e9
        (moved, *_) = detector.explain(values, HUMAN, 5)
        first.append((moved.feature, moved.observed, moved.lower, moved.usual, moved.upper))

    assert first == [(FEATURE_NAMES[one], 1e9, *usual[:, one].tolist()) for one in VARYING]


@every_variant
def test_the_usual_vector_has_nothing_to_explain(detector: Trained) -> None:
    assert detector.explain(detector.norms[AGENT, 1], AGENT, 5) == []


def test_no_more_is_told_than_was_asked_for() -> None:
    assert len(TRAINED["components", "calibrated"].explain(traffic(1, 3)[0] * 1e4, HUMAN, 5)) == 5


def test_of_two_features_that_say_the_same_neither_hides_the_other() -> None:
    def either(trials: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.maximum(trials[:, 0], trials[:, 1]).astype(np.float64)

    seen, usual = np.array([9, 9, 1], np.float32), np.zeros(3, np.float32)

    assert shares(either, seen, usual, "removed").tolist() == [0.0, 0.0, 0.0]
    assert shares(either, seen, usual, "both").tolist() == [4.5, 4.5, 0.0]


# --- on disk ----------------------------------------------------------------------------------------------


def test_parts_are_the_whole_of_a_detector() -> None:
    detector = refined()

    again = of_parts("toy", "components", detector.parts)

    assert again.id == detector.id
    assert {part: sorted(arrays) for part, arrays in detector.parts.items()} == {
        "detector": ["0.axes", "0.centre", "0.scale", "knots", "norms", "scorer_of"],
        "second": ["both_knots", "centre", "knots", "scale", "weights"],
    }


def test_the_id_covers_every_array() -> None:
    detector = refined()
    ids = {detector.id}
    for part, arrays in detector.parts.items():
        for name, array in arrays.items():
            changed = array.copy()
            if name != "scorer_of":  # a changed one names a scorer that is not there
                changed.reshape(-1).view(np.uint8)[0] ^= 1
            parts = {**detector.parts, part: {**arrays, name: changed}}
            ids.add(of_parts("toy", "components", parts).id)

    assert len(ids) == 1 + 5 + 5


def test_other_files_lie_beside_the_detector(tmp_path: Path) -> None:
    detector, roles = TRAINED["components", "global"], sample_roles()

    save(detector, tmp_path, {}, {ROLES: pack(roles.arrays)})

    back = load_roles(tmp_path)
    assert back is not None
    assert back.tag == roles.tag
    assert load(tmp_path).id == detector.id
    assert load_reference(tmp_path) is None


def test_a_file_cannot_take_the_name_of_a_part_of_the_detector(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"detector\.npz, second\.npz holds a part of the detector"):
        save(refined(), tmp_path, {}, {file_of(part): b"" for part in ("second", "detector")})


def _card(directory: Path, **members: Any) -> None:
    told = json.loads((directory / CARD).read_text("utf-8"))
    (directory / CARD).write_text(json.dumps(told | members), "utf-8")


def _repacked(directory: Path, packed: bytes) -> None:
    """Other arrays, with a card that vouches for them."""
    (directory / ARRAYS).write_bytes(packed)
    _card(directory, sha256={ARRAYS: sha256(packed).hexdigest()})


def _with(directory: Path, **changed: NDArray[Any] | None) -> None:
    with np.load(directory / ARRAYS) as told:
        arrays = {name: array for name, array in {**told, **changed}.items() if array is not None}
    packed = BytesIO()
    np.savez(packed, **arrays)
    _repacked(directory, packed.getvalue())


def _nodes_of_another_version(directory: Path) -> None:
    with np.load(directory / ARRAYS) as told:
        nodes = told["0.nodes"]
    _with(directory, **{"0.nodes": repack_fields(nodes[list(nodes.dtype.names[:-1])])})


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("no arrays", lambda d: (d / ARRAYS).unlink(), "no readable model"),
    ("no card", lambda d: (d / CARD).unlink(), "no readable model"),
    ("half a card", lambda d: (d / CARD).write_text("{", "utf-8"), "no readable model"),
    ("a card of another kind", lambda d: (d / CARD).write_text("[1]", "utf-8"), "no readable model"),
    ("a card with no name", lambda d: _card(d, name=None), "no name"),
    ("a card without hashes", lambda d: _card(d, sha256=None), "says nothing of this file"),
    ("an unknown kind", lambda d: _card(d, kind="oracle"), "of kind 'oracle', known are forest"),
    ("another kind", lambda d: _card(d, kind="components"), "not a model of this version"),
    ("changed arrays", lambda d: (d / ARRAYS).write_bytes(b"x"), "changed since it was trained"),
    ("other features", lambda d: _card(d, feature_set="0123"), f"feature set 0123, this is {FEATURE_SET}"),
    ("arrays that are none", lambda d: _repacked(d, b"not a zip file"), "not a model of this version"),
    ("an array too few", lambda d: _with(d, **{"0.value": None}), "not a model of this version"),
    ("fewer features", lambda d: _with(d, norms=np.zeros((5, 3, 3))), "not a model of this version"),
    ("trees of another scikit-learn", _nodes_of_another_version, "not a model of this version"),
]


@pytest.mark.parametrize(("spoil", "complaint"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_model_that_was_changed_or_is_foreign_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], complaint: str
) -> None:
    save(TRAINED["forest", "calibrated"], tmp_path, {})
    spoil(tmp_path)

    with pytest.raises(BadModel, match=complaint) as refused:
        load(tmp_path)

    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_window_of_the_training_data_is_told_in_utc() -> None:
    assert window(0, 86_400_000) == ["1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00"]
