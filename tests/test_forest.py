"""The isolation forest: scikit-learn's own score, explained, calibrated, and kept on disk without pickles."""

from __future__ import annotations

import json
from collections.abc import Callable
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

from models.artefact import ARRAYS, CARD, BadModel, load, save, window
from models.detector import BANDS, NoDetector
from models.features import FEATURE_NAMES, FEATURE_SET, as_seen_by_models
from models.forest import Forest, average_path, fit, from_arrays, from_fitted

COUNT = len(FEATURE_NAMES)


def traffic(count: int, seed: int) -> NDArray[np.float64]:
    """Vectors as heavy-tailed as traffic is, and as many-valued as some features are not."""
    random = np.random.default_rng(seed)
    values = random.lognormal(2.0, 1.5, (count, COUNT)) * random.integers(0, 2, COUNT)
    values[:, ::7] = random.integers(0, 2, (count, len(range(0, COUNT, 7))))
    return values


@pytest.fixture(scope="module")
def forest() -> Forest:
    return fit(traffic(2_000, 1), name="toy", seed=7, trees=24)


# --- the score --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "count", "sample"), [(1, 1_500, 256), (2, 3_000, 64), (3, 300, 300)])
def test_the_score_is_that_of_scikit_learn(seed: int, count: int, sample: int) -> None:
    seen = as_seen_by_models(np.ascontiguousarray(traffic(count, seed).T))
    fitted = IsolationForest(n_estimators=20, max_samples=sample, random_state=seed).fit(seen)

    ours = from_fitted("toy", fitted, np.zeros(COUNT))

    others = as_seen_by_models(np.ascontiguousarray(traffic(500, seed + 100).T * 3))
    for vectors in (seen, others):
        np.testing.assert_allclose(ours.score(vectors), -fitted.score_samples(vectors), rtol=0, atol=1e-9)


def test_repeated_points_and_constant_features_are_scored_as_scikit_learn_does() -> None:
    seen = np.ones((400, COUNT), np.float32)
    seen[:5, 0] = [3, 3, 4, 5, 5]
    fitted = IsolationForest(n_estimators=10, max_samples=200, random_state=0).fit(seen)

    ours = from_fitted("toy", fitted, np.zeros(COUNT))

    np.testing.assert_allclose(ours.score(seen), -fitted.score_samples(seen), rtol=0, atol=1e-9)


@given(st.lists(st.floats(0, 1e12), min_size=COUNT, max_size=COUNT), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_score_lies_between_nothing_and_one_and_does_not_depend_on_its_neighbours(
    forest: Forest, one: list[float], seed: int
) -> None:
    others = traffic(3, seed)
    seen = as_seen_by_models(np.ascontiguousarray(np.vstack([[one], others]).T))

    scores = forest.score(seen)

    assert ((scores > 0) & (scores < 1)).all()
    assert scores.tolist() == [float(forest.score(seen[at : at + 1])[0]) for at in range(4)]


def test_the_average_path_is_that_of_the_paper() -> None:
    harmonic = float(np.sum(1 / np.arange(1, 256)))

    assert average_path(np.array([0, 1, 2])).tolist() == [0.0, 0.0, 1.0]
    assert float(average_path(np.array(256))) == pytest.approx(2 * harmonic - 2 * 255 / 256, abs=0.01)


# --- calibration and explanation --------------------------------------------------------------------------


def test_bands_are_quantiles_of_what_was_learned(forest: Forest) -> None:
    seen = as_seen_by_models(np.ascontiguousarray(traffic(2_000, 1).T))

    bands = forest.band(forest.score(seen))

    assert [int((bands >= band).sum()) for band in (1, 2, 3)] == [
        pytest.approx(2_000 * (1 - quantile), abs=1) for quantile in BANDS
    ]
    assert forest.band(np.array([0.0, float(forest.thresholds[2]) + 1e-6])).tolist() == [0, 3]


def test_what_stands_out_is_told_first_in_its_own_unit(forest: Forest) -> None:
    values = forest.usual.copy()
    at = int(np.argmax(forest.usual))
    values[at] = 1e9

    moved = forest.explain(values, as_seen_by_models(values[:, None])[0], 3)

    assert (moved[0].feature, moved[0].observed, moved[0].usual) == (
        FEATURE_NAMES[at],
        1e9,
        float(forest.usual[at]),
    )
    assert len(moved) <= 3


def test_the_usual_vector_has_nothing_to_explain(forest: Forest) -> None:
    assert forest.explain(forest.usual, as_seen_by_models(forest.usual[:, None])[0], 3) == []


def test_no_detector_finds_nothing() -> None:
    seen = np.ones((3, COUNT), np.float32)
    nobody = NoDetector()

    scores = nobody.score(seen)

    assert (scores.tolist(), nobody.band(scores).tolist()) == ([0.0] * 3, [0] * 3)
    assert nobody.explain(np.ones(COUNT), seen[0], 3) == []


# --- training ---------------------------------------------------------------------------------------------


def test_the_same_data_and_seed_give_the_same_bytes(tmp_path: Path, forest: Forest) -> None:
    again = fit(traffic(2_000, 1), name="toy", seed=7, trees=24)
    other = fit(traffic(2_000, 1), name="toy", seed=8, trees=24)
    for name, one in (("a", forest), ("b", again)):
        save(one, tmp_path / name, {"seed": 7})

    files = [[(tmp_path / name / file).read_bytes() for file in (ARRAYS, CARD)] for name in ("a", "b")]
    assert files[0] == files[1]
    assert forest.id == again.id != other.id


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
        fit(values, name="toy", seed=1)


# --- on disk ----------------------------------------------------------------------------------------------


def test_a_model_comes_back_from_disk_as_it_was(tmp_path: Path, forest: Forest) -> None:
    save(forest, tmp_path, {"trained_on": "toy"})
    seen = as_seen_by_models(np.ascontiguousarray(traffic(100, 3).T))

    again = load(tmp_path)

    assert (again.id, again.name) == (forest.id, "toy")
    assert again.score(seen).tolist() == forest.score(seen).tolist()
    assert {name: array.tobytes() for name, array in again.arrays.items()} == {
        name: array.tobytes() for name, array in forest.arrays.items()
    }


def test_arrays_are_the_whole_of_a_forest(forest: Forest) -> None:
    again = from_arrays("toy", forest.arrays)

    assert again.id == forest.id
    assert set(forest.arrays) == {"nodes", "starts", "depth", "sample", "usual", "thresholds"}


def test_the_id_covers_every_array(forest: Forest) -> None:
    ids = {forest.id}
    for name, array in forest.arrays.items():
        changed = array.copy()
        changed.reshape(-1).view(np.uint8)[0] ^= 1
        ids.add(from_arrays("toy", {**forest.arrays, name: changed}).id)

    assert len(ids) == 7


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
        nodes = told["nodes"]
    _with(directory, nodes=repack_fields(nodes[list(nodes.dtype.names[:-1])]))


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("no arrays", lambda d: (d / ARRAYS).unlink(), "no readable model"),
    ("no card", lambda d: (d / CARD).unlink(), "no readable model"),
    ("half a card", lambda d: (d / CARD).write_text("{", "utf-8"), "no readable model"),
    ("a card of another kind", lambda d: (d / CARD).write_text("[1]", "utf-8"), "no readable model"),
    ("a card with no name", lambda d: _card(d, name=None), "no name"),
    ("a card without hashes", lambda d: _card(d, sha256=None), "changed since it was trained"),
    ("changed arrays", lambda d: (d / ARRAYS).write_bytes(b"x"), "changed since it was trained"),
    ("other features", lambda d: _card(d, feature_set="0123"), f"feature set 0123, this is {FEATURE_SET}"),
    ("arrays that are none", lambda d: _repacked(d, b"not a zip file"), "not a model of this version"),
    ("an array too few", lambda d: _with(d, depth=None), "not a model of this version"),
    ("fewer features", lambda d: _with(d, usual=np.zeros(3)), "not a model of this version"),
    ("trees of another scikit-learn", _nodes_of_another_version, "not a model of this version"),
]


@pytest.mark.parametrize(("spoil", "complaint"), [row[1:] for row in SPOILT], ids=[row[0] for row in SPOILT])
def test_a_model_that_was_changed_or_is_foreign_is_refused(
    tmp_path: Path, forest: Forest, spoil: Callable[[Path], object], complaint: str
) -> None:
    save(forest, tmp_path, {})
    spoil(tmp_path)

    with pytest.raises(BadModel, match=complaint) as refused:
        load(tmp_path)

    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_window_of_the_training_data_is_told_in_utc() -> None:
    assert window(0, 86_400_000) == ["1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00"]
