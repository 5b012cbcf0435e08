"""A model on disk: a directory with ``forest.npz`` (arrays, never pickles) and its card (`models.card`).

Beside them there may be ``roles.npz``: without it no call is surprising.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from models import card as cards
from models.drift import Reference
from models.features import FEATURE_NAMES, FEATURE_SET
from models.forest import Forest, from_arrays
from models.npz import pack, unpack
from models.roles import BadRoles, Roles
from models.roles import from_arrays as from_role_arrays

ARRAYS: Final = "forest.npz"
CARD: Final = cards.CARD
ROLES: Final = "roles.npz"
SHIPPED: Final = Path(__file__).parent / "artefacts"

BadModel = cards.BadModel


def save(
    forest: Forest, directory: Path, card: Mapping[str, Any], files: Mapping[str, bytes] | None = None
) -> None:
    """Write *forest*, its *card* and what else belongs to it into *directory*; the same, the same bytes."""
    about = {
        "name": forest.name,
        "id": forest.id,
        "feature_set": FEATURE_SET,
        "features": list(FEATURE_NAMES),
        **card,
    }
    cards.write(directory, about, {ARRAYS: pack(forest.arrays), **(files or {})})


def load(directory: Path) -> Forest:
    """The forest in *directory*.

    Raises:
        BadModel: something is missing, was changed since training, or was trained on other features.
    """
    card = cards.read(directory)
    try:
        return _unpack(card["name"], _vouched(directory, card, ARRAYS))
    except (ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
        raise _foreign(directory / ARRAYS, error) from error


def load_reference(directory: Path) -> Reference | None:
    """What the model in *directory* was trained on, as bins; ``None`` where its card names no such file.

    Raises:
        BadModel: as of :func:`load`.
    """
    card = cards.read(directory)
    if cards.REFERENCE not in (card.get("sha256") or {}):
        return None
    try:
        arrays = unpack(_vouched(directory, card, cards.REFERENCE))
        return Reference.from_arrays(FEATURE_NAMES, arrays)
    except (ValueError, KeyError, TypeError, BadZipFile) as error:
        raise _foreign(directory / cards.REFERENCE, error) from error


def _vouched(directory: Path, card: Mapping[str, Any], name: str) -> bytes:
    """The bytes of a file that the card must name: a file it says nothing of may be anybody's."""
    if name not in (card.get("sha256") or {}):
        raise BadModel(f"{directory / name}: changed since it was trained (its sha256 is not the card's)")
    return (directory / name).read_bytes()


def _foreign(path: Path, error: Exception) -> BadModel:
    if isinstance(error, BadModel):
        return error
    why = str(error).partition("\n")[0].rstrip(":")
    return BadModel(f"{path}: not a model of this version ({why}); train it again with `session-risk train`")


def load_roles(directory: Path) -> Roles | None:
    """The roles in *directory*, ``None`` where its card names none.

    Raises:
        BadModel: they are missing, were changed since training, or cannot be used.
    """
    card = cards.read(directory)
    if ROLES not in (card.get("sha256") or {}):
        return None
    try:
        return from_role_arrays(unpack(_vouched(directory, card, ROLES)))
    except (BadRoles, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise _foreign(directory / ROLES, error) from error


def _unpack(name: str, packed: bytes) -> Forest:
    """The forest in *packed*, once it has scored: what scikit-learn does not take shows here, not later."""
    forest = from_arrays(name, unpack(packed))
    if forest.usual.shape != (len(FEATURE_NAMES),):
        raise ValueError(f"it knows {forest.usual.size} features, here are {len(FEATURE_NAMES)}")
    forest.score(np.zeros((1, len(FEATURE_NAMES)), np.float32))
    return forest


def window(first_ms: int, last_ms: int) -> list[str]:
    """Two event times as ISO 8601, for the card."""
    return [
        datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for ms in (first_ms, last_ms)
    ]
