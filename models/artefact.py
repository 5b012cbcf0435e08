"""A model on disk: a directory with ``forest.npz`` (arrays, never pickles) and ``card.json`` (what it is)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from models.features import FEATURE_NAMES, FEATURE_SET
from models.forest import Forest, from_arrays

ARRAYS: Final = "forest.npz"
CARD: Final = "card.json"
SHIPPED: Final = Path(__file__).parent / "artefacts"


class BadModel(ValueError):
    """A model directory that cannot be used; the message says why and what to do."""


def save(forest: Forest, directory: Path, card: dict[str, Any]) -> None:
    """Write *forest* and its *card* into *directory*; the same forest gives the same bytes.

    The card comes last and names the arrays' hash, so a half-written model is refused, never served.
    """
    directory.mkdir(parents=True, exist_ok=True)
    packed = _pack(forest)
    (directory / ARRAYS).write_bytes(packed)
    about = {
        "name": forest.name,
        "id": forest.id,
        "feature_set": FEATURE_SET,
        "features": list(FEATURE_NAMES),
        "sha256": {ARRAYS: sha256(packed).hexdigest()},
        **card,
    }
    (directory / CARD).write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def load(directory: Path) -> Forest:
    """The forest in *directory*.

    Raises:
        BadModel: something is missing, was changed since training, or was trained on other features.
    """
    try:
        card = json.loads((directory / CARD).read_text("utf-8"))
        packed = (directory / ARRAYS).read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(directory, error) from error
    if not isinstance(card, dict) or not isinstance(card.get("name"), str):
        raise _unreadable(directory, f"{CARD} gives no name")
    if (card.get("sha256") or {}).get(ARRAYS) != sha256(packed).hexdigest():
        raise BadModel(f"{directory / ARRAYS}: changed since it was trained (its sha256 is not the card's)")
    if card.get("feature_set") != FEATURE_SET:
        raise BadModel(
            f"{directory}: trained on feature set {card.get('feature_set')}, this is {FEATURE_SET}: "
            "train it again with `session-risk train`"
        )
    try:
        return _unpack(card["name"], packed)
    except (ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
        why = str(error).partition("\n")[0].rstrip(":")
        raise BadModel(
            f"{directory / ARRAYS}: not a model of this version ({why}); "
            "train it again with `session-risk train`"
        ) from error


def _unreadable(directory: Path, why: object) -> BadModel:
    return BadModel(f"{directory}: no readable model ({why}); train one with `session-risk train`")


def _unpack(name: str, packed: bytes) -> Forest:
    """The forest in *packed*, once it has scored: what scikit-learn does not take shows here, not later."""
    with np.load(BytesIO(packed), allow_pickle=False) as arrays:
        forest = from_arrays(name, dict(arrays.items()))
    if forest.usual.shape != (len(FEATURE_NAMES),):
        raise ValueError(f"it knows {forest.usual.size} features, here are {len(FEATURE_NAMES)}")
    forest.score(np.zeros((1, len(FEATURE_NAMES)), np.float32))
    return forest


def window(first_ms: int, last_ms: int) -> list[str]:
    """Two event times as ISO 8601, for the card."""
    return [
        datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for ms in (first_ms, last_ms)
    ]


def _pack(forest: Forest) -> bytes:
    """``.npz`` without the time of writing, so that equal forests are equal files."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for name, array in sorted(forest.arrays.items()):
            member = BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), member.getvalue())
    return packed.getvalue()
