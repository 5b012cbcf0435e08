"""A model's card: it has the hash of every file, names a changed one, and has a page for people."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.artefacts import ARRAYS, BadModel, load, load_reference, pack, save, unpack
from models.detectors.drift import Reference
from models.detectors.trained import Trained, fit
from models.events.columns import PRINCIPAL_KIND
from models.features.table import FEATURE_NAMES, FEATURE_SET, as_seen_by_models
from models.model_card import CARD, PAGE, REFERENCE, read, write

COUNT = len(FEATURE_NAMES)
KINDS = np.full(1_200, PRINCIPAL_KIND["human"], np.uint8)
ABOUT: dict[str, Any] = {
    "name": "toy",
    "id": "toy@1",
    "feature_set": FEATURE_SET,
    "features": list(FEATURE_NAMES),
    "data": {"window": ["2026-03-02", "2026-03-03"], "rows": 12_000, "cohort": None},
    "thresholds": [0.5, 0.6],
    "metrics": {"auc": 0.91, "families": [{"family": "theft", "recall_at_1_percent": 0.5}]},
}


def values() -> NDArray[np.float64]:
    return np.random.default_rng(1).lognormal(2.0, 1.5, (1_200, COUNT))


@pytest.fixture(scope="module")
def detector() -> Trained:
    return fit(values(), KINDS, name="toy", seed=7)


def reference_of(detector: Trained) -> Reference:
    scores = detector.score(as_seen_by_models(np.ascontiguousarray(values().T)), KINDS)
    return Reference.from_rows(FEATURE_NAMES, values(), scores)


@pytest.fixture
def model(tmp_path: Path, detector: Trained) -> Path:
    files = {REFERENCE: pack(reference_of(detector).arrays), "scores.png": b"a picture"}
    save(detector, tmp_path / "toy", {"seed": 7}, files)
    return tmp_path / "toy"


def test_a_card_names_the_hash_of_every_file_beside_it(model: Path) -> None:
    names = sorted(path.name for path in model.iterdir())

    hashes = {name: sha256((model / name).read_bytes()).hexdigest() for name in names if name != CARD}
    assert names == [CARD, PAGE, ARRAYS, REFERENCE, "scores.png"]
    assert read(model)["sha256"] == hashes


def test_the_same_model_makes_the_same_bytes(model: Path, detector: Trained, tmp_path: Path) -> None:
    files = {"scores.png": b"a picture", REFERENCE: pack(reference_of(detector).arrays)}
    save(detector, tmp_path / "again", {"seed": 7}, files)

    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        path.name: path.read_bytes() for path in model.iterdir()
    }


def test_the_training_data_is_loaded_as_bins(model: Path, detector: Trained) -> None:
    found, made = load_reference(model), reference_of(detector)

    assert found is not None
    assert found.names == made.names
    assert {name: array.tolist() for name, array in found.arrays.items()} == {
        name: array.tolist() for name, array in made.arrays.items()
    }


def test_a_model_from_before_references_has_none(tmp_path: Path, detector: Trained) -> None:
    save(detector, tmp_path, {})

    assert load_reference(tmp_path) is None


@pytest.mark.parametrize("name", [ARRAYS, REFERENCE, "scores.png", PAGE])
def test_a_file_that_was_changed_is_named_and_the_model_refused(model: Path, name: str) -> None:
    with (model / name).open("ab") as file:
        file.write(b" ")

    with pytest.raises(BadModel) as refused:
        load(model)

    sentence = "changed since it was trained (its sha256 is not the card's)"
    assert str(refused.value) == f"{model / name}: {sentence}"


def test_other_features_are_refused_with_both_sets(model: Path) -> None:
    card = json.loads((model / CARD).read_text("utf-8"))
    (model / CARD).write_text(json.dumps(card | {"feature_set": "0123"}), "utf-8")

    with pytest.raises(BadModel) as refused:
        load(model)

    assert str(refused.value) == (
        f"{model}: trained on feature set 0123, this is {FEATURE_SET}: train it again with `session-risk train`"
    )


def test_a_reference_that_is_missing_or_of_other_features_is_refused(model: Path, detector: Trained) -> None:
    (model / REFERENCE).unlink()
    with pytest.raises(BadModel, match="no readable model"):
        load_reference(model)

    few = Reference.from_rows(("one",), values()[:, :1], np.zeros(1_200))
    save(detector, model, {}, {REFERENCE: pack(few.arrays)})
    with pytest.raises(BadModel) as refused:
        load_reference(model)

    assert str(refused.value).startswith(f"{model / REFERENCE}: not a model of this version (bins (2, ")


def test_a_picture_that_is_missing_changes_nothing(model: Path, detector: Trained) -> None:
    (model / "scores.png").unlink()

    assert load(model).id == detector.id


def test_the_page_has_the_contents_of_the_card(tmp_path: Path) -> None:
    write(tmp_path, ABOUT, {"scores.png": b"", "unknown.bin": b""})

    assert (
        (tmp_path / PAGE).read_text("utf-8")
        == f"""\
# Model toy

`toy@1`, over {COUNT} features (set `{FEATURE_SET}`).

A sign, not a verdict: the score shifts a decision's balance and revokes nobody alone.

## Trained on

- window: 2026-03-02, 2026-03-03
- rows: 12,000
- cohort: –

## Scores that only 1 %, 0.1 % and 0.01 % of normal traffic exceed

0.5, 0.6

## How well it does

- auc: 0.91

### Families

| family | recall at 1 percent |
|---|---|
| theft | 0.5 |

## How often each score is given

![How often each score is given](scores.png)
"""
    )


def test_arrays_are_stored_without_pickles(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {"b": np.arange(3), "a": np.eye(2, dtype=np.float32)}

    assert {name: array.tolist() for name, array in unpack(pack(arrays)).items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        pack({"x": np.array([object()])})
