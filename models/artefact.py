"""A model on disk: a directory with an ``.npz`` for each part (arrays, never pickles) and ``card.json``.

The card says what the model is and vouches for every file by its hash. The parts of the detector are its own;
others may lie beside them, each under its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np

from models.columns import KINDS
from models.detectors.methods import METHODS, Arrays
from models.detectors.trained import DETECTOR, SECOND, Trained, of_parts
from models.features import FEATURE_NAMES, FEATURE_SET

CARD: Final = "card.json"
SHIPPED: Final = Path(__file__).parent / "artefacts"


class BadModel(ValueError):
    """A model directory that cannot be used; the message says why and what to do."""


def file_of(part: str) -> str:
    """The name of the file that holds *part*."""
    return f"{part}.npz"


ARRAYS: Final = file_of(DETECTOR)


def save(
    detector: Trained, directory: Path, card: Mapping[str, Any], parts: Mapping[str, Arrays] | None = None
) -> None:
    """Write *detector*, its *card* and other named *parts* into *directory*; the same gives the same bytes.

    The card comes last and names the hash of every file, so a half-written model is refused, never served.

    Raises:
        ValueError: a part has the name of one of the detector's.
    """
    told = {**detector.parts, **(parts or {})}
    if len(told) < len(detector.parts) + len(parts or {}):
        raise ValueError(
            f"{DETECTOR} and {SECOND} are parts of the detector: name {sorted(parts or {})} otherwise"
        )
    directory.mkdir(parents=True, exist_ok=True)
    packed = {file_of(part): _pack(arrays) for part, arrays in sorted(told.items())}
    for file, content in packed.items():
        (directory / file).write_bytes(content)
    about = {
        "name": detector.name,
        "id": detector.id,
        "kind": detector.method,
        "feature_set": FEATURE_SET,
        "features": list(FEATURE_NAMES),
        "sha256": {file: sha256(content).hexdigest() for file, content in packed.items()},
        **card,
    }
    (directory / CARD).write_text(json.dumps(about, indent=2) + "\n", "utf-8")


def load(directory: Path) -> Trained:
    """The detector in *directory*.

    Raises:
        BadModel: something is missing, was changed since training, is of an unknown kind, or was trained on
            other features.
    """
    card = _card(directory)
    if card.get("feature_set") != FEATURE_SET:
        raise BadModel(
            f"{directory}: trained on feature set {card.get('feature_set')}, this is {FEATURE_SET}: "
            "train it again with `session-risk train`"
        )
    if card.get("kind") not in METHODS:
        raise BadModel(
            f"{directory}: a detector of kind {card.get('kind')!r}, known are {', '.join(METHODS)}: "
            "train it again with `session-risk train`"
        )
    names = [part for part in (DETECTOR, SECOND) if part == DETECTOR or file_of(part) in card["sha256"]]
    parts = {part: _read(directory, part, card) for part in names}
    try:
        detector = of_parts(card["name"], card["kind"], parts)
        # What scikit-learn does not take shows here, not later.
        detector.score(
            np.zeros((len(KINDS), len(FEATURE_NAMES)), np.float32), np.arange(len(KINDS), dtype=np.uint8)
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise _foreign(directory / ARRAYS, error) from error
    return detector


def load_part(directory: Path, part: str) -> Arrays | None:
    """The arrays of another *part* of the model in *directory*, `None` where it has no such part.

    Raises:
        BadModel: something is missing or was changed since training.
    """
    card = _card(directory)
    return _read(directory, part, card) if file_of(part) in card["sha256"] else None


def _card(directory: Path) -> dict[str, Any]:
    """The card, as far as it must be right to read anything."""
    try:
        card = json.loads((directory / CARD).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(directory, error) from error
    if not isinstance(card, dict) or not isinstance(card.get("name"), str):
        raise _unreadable(directory, f"{CARD} gives no name")
    if not isinstance(card.get("sha256"), dict):
        raise _unreadable(directory, f"{CARD} vouches for no file")
    return card


def _read(directory: Path, part: str, card: Mapping[str, Any]) -> Arrays:
    path = directory / file_of(part)
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise _unreadable(directory, error) from error
    if card["sha256"].get(path.name) != sha256(packed).hexdigest():
        raise BadModel(f"{path}: changed since it was trained (its sha256 is not the card's)")
    try:
        with np.load(BytesIO(packed), allow_pickle=False) as arrays:
            return dict(arrays.items())
    except (ValueError, BadZipFile) as error:
        raise _foreign(path, error) from error


def _unreadable(directory: Path, why: object) -> BadModel:
    return BadModel(f"{directory}: no readable model ({why}); train one with `session-risk train`")


def _foreign(path: Path, error: Exception) -> BadModel:
    why = str(error).partition("\n")[0].rstrip(":")
    return BadModel(f"{path}: not a model of this version ({why}); train it again with `session-risk train`")


def window(first_ms: int, last_ms: int) -> list[str]:
    """Two event times as ISO 8601, for the card."""
    return [
        datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for ms in (first_ms, last_ms)
    ]


def _pack(arrays: Arrays) -> bytes:
    """``.npz`` without the time of writing, so that equal arrays are equal files."""
    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        for name, array in sorted(arrays.items()):
            member = BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), member.getvalue())
    return packed.getvalue()
