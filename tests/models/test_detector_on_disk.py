"""A trained detector on disk: its parts, its id, further files, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.artefacts import (
    ARRAYS,
    CARD,
    ROLES,
    BadModel,
    file_of,
    load,
    load_reference,
    load_roles,
    pack,
    save,
    window,
)
from models.detectors.trained import from_parts
from models.features.table import FEATURE_SET
from tests.support.role_samples import sample_roles
from tests.support.toy_detectors import REFINED, TRAINED


def test_parts_contain_the_whole_detector() -> None:
    detector = REFINED

    again = from_parts("toy", "components", detector.parts)

    assert again.id == detector.id
    assert {part: sorted(arrays) for part, arrays in detector.parts.items()} == {
        "detector": ["0.axes", "0.centre", "0.scale", "knots", "norms", "scorer_of"],
        "second": ["both_knots", "centre", "knots", "scale", "weights"],
    }


def test_the_id_covers_every_array() -> None:
    detector = REFINED
    ids = {detector.id}
    for part, arrays in detector.parts.items():
        for name, array in arrays.items():
            changed = array.copy()
            if name != "scorer_of":  # a changed one names a scorer that is not there
                changed.reshape(-1).view(np.uint8)[0] ^= 1
            parts = {**detector.parts, part: {**arrays, name: changed}}
            ids.add(from_parts("toy", "components", parts).id)

    assert len(ids) == 1 + 5 + 5


def test_other_files_lie_beside_the_detector(tmp_path: Path) -> None:
    detector, roles = TRAINED["components", "global"], sample_roles()

    save(detector, tmp_path, {}, {ROLES: pack(roles.arrays)})

    back = load_roles(tmp_path)
    assert back is not None
    assert back.tag == roles.tag
    assert load(tmp_path).id == detector.id
    assert load_reference(tmp_path) is None


def test_a_model_that_takes_the_place_of_another_leaves_none_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    save(REFINED, tmp_path, {}, {"roles.npz": b"1"})

    save(TRAINED["components", "global"], tmp_path, {})

    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "card.md", "detector.npz", "notes.txt"]


def test_a_file_cannot_take_the_name_of_a_part_of_the_detector(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"detector\.npz, second\.npz holds a part of the detector"):
        save(REFINED, tmp_path, {}, {file_of(part): b"" for part in ("second", "detector")})


def _card(directory: Path, **members: Any) -> None:
    card = json.loads((directory / CARD).read_text("utf-8"))
    (directory / CARD).write_text(json.dumps(card | members), "utf-8")


def _repacked(directory: Path, packed: bytes) -> None:
    """Other arrays, with a card that has their hash."""
    (directory / ARRAYS).write_bytes(packed)
    _card(directory, sha256={ARRAYS: sha256(packed).hexdigest()})


def _with(directory: Path, **changed: NDArray[Any] | None) -> None:
    with np.load(directory / ARRAYS) as saved:
        arrays = {name: array for name, array in {**saved, **changed}.items() if array is not None}
    packed = BytesIO()
    np.savez(packed, **arrays)
    _repacked(directory, packed.getvalue())


def _nodes(directory: Path, name: str, value: int) -> None:
    """Trees whose first node has another *value* in one of its fields."""
    with np.load(directory / ARRAYS) as saved:
        nodes = saved["0.nodes"].copy()
    nodes[name][0] = value
    _with(directory, **{"0.nodes": nodes})


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
    ("a tree that leaves its nodes", lambda d: _nodes(d, "left_child", 10**6), "not a model of this version"),
    ("a tree that goes in circles", lambda d: _nodes(d, "right_child", 0), "not a model of this version"),
    ("a tree of other features", lambda d: _nodes(d, "feature", 999), "not a model of this version"),
    ("a tree without its end", lambda d: _with(d, **{"0.starts": np.array([0, 3])}), "not a model of this version"),
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


def test_the_window_of_the_training_data_is_in_utc() -> None:
    assert window(0, 86_400_000) == ["1970-01-01T00:00:00+00:00", "1970-01-02T00:00:00+00:00"]
