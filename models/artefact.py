"""A model on disk: a directory with ``forest.npz`` (arrays, never pickles) and ``card.json`` (what it is).

Beside them there may be ``roles.npz``: without it no call is surprising.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from models.features import FEATURE_NAMES, FEATURE_SET
from models.forest import Forest, from_arrays
from models.roles import BadRoles, Roles
from models.roles import from_arrays as from_role_arrays

ARRAYS: Final = "forest.npz"
CARD: Final = "card.json"
ROLES: Final = "roles.npz"
SHIPPED: Final = Path(__file__).parent / "artefacts"


class BadModel(ValueError):
    """A model directory that cannot be used; the message says why and what to do."""


def save(forest: Forest, directory: Path, card: dict[str, Any], roles: Roles | None = None) -> None:
    """Write *forest*, its *card* and *roles* into *directory*; the same forest gives the same bytes.

    The card comes last and names the arrays' hash, so a half-written model is refused, never served.
    """
    directory.mkdir(parents=True, exist_ok=True)
    parts = {ARRAYS: _pack(forest.arrays)} | ({} if roles is None else {ROLES: _pack(roles.arrays)})
    for part, packed in parts.items():
        (directory / part).write_bytes(packed)
    about = {
        "name": forest.name,
        "id": forest.id,
        "feature_set": FEATURE_SET,
        "features": list(FEATURE_NAMES),
        "sha256": {part: sha256(packed).hexdigest() for part, packed in parts.items()},
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


def load_roles(directory: Path) -> Roles | None:
    """The roles in *directory*, ``None`` where its card names none.

    Raises:
        BadModel: they are missing, were changed since training, or cannot be used.
    """
    try:
        card = json.loads((directory / CARD).read_text("utf-8"))
        expected = (card.get("sha256") or {}).get(ROLES)
        packed = (directory / ROLES).read_bytes() if expected is not None else b""
    except (OSError, ValueError, AttributeError) as error:
        raise _unreadable(directory, error) from error
    if expected is None:
        return None
    if expected != sha256(packed).hexdigest():
        raise BadModel(f"{directory / ROLES}: changed since it was trained (its sha256 is not the card's)")
    try:
        with np.load(BytesIO(packed), allow_pickle=False) as arrays:
            return from_role_arrays(dict(arrays.items()))
    except (BadRoles, ValueError, BadZipFile) as error:
        raise BadModel(
            f"{directory / ROLES}: no roles of this version ({error}); "
            "train the model again with `session-risk train`"
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


def _pack(arrays: dict[str, NDArray[Any]]) -> bytes:
    """``.npz`` without the time of writing, so that equal arrays are equal files."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            member = BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), member.getvalue())
    return packed.getvalue()
