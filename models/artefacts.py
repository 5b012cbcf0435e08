"""A model on disk: a directory with an ``.npz`` for each part (arrays, never pickles) and its card.

The parts belong to the detector. Beside them there may be the roles, without which no call is surprising, and the
training data as bins for drift. `models.model_card` has the contents of the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from models import model_card
from models.detectors.drift import Reference
from models.detectors.methods import METHODS
from models.detectors.trained import DETECTOR, SECOND, Trained, from_parts
from models.events.columns import KINDS
from models.features.table import FEATURE_NAMES, FEATURE_SET
from models.roles.roles import BadRoles, Roles
from models.roles.roles import from_arrays as from_role_arrays


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """*arrays* as the bytes of an `.npz`; raises `ValueError` if one holds Python objects."""
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        for name, array in sorted(arrays.items()):
            file = BytesIO()
            np.save(file, array, allow_pickle=False)
            archive.writestr(ZipInfo(f"{name}.npy"), file.getvalue(), ZIP_DEFLATED)
    return content.getvalue()


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`; raises `ValueError` or `zipfile.BadZipFile` if *content* is none."""
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays.items())


CARD: Final = model_card.CARD
SHIPPED: Final = Path(__file__).parent / "artefacts"

BadModel = model_card.BadModel


def file_of(part: str) -> str:
    """The name of the file that holds *part*."""
    return f"{part}.npz"


ARRAYS: Final = file_of(DETECTOR)
ROLES: Final = file_of("roles")


def save(detector: Trained, directory: Path, card: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> None:
    """Write *detector*, its *card* and further *files* into *directory*; the same input gives the same bytes.

    Raises:
        ValueError: one of *files* has the name of one of the detector's parts.
    """
    parts = {file_of(part): pack(arrays) for part, arrays in sorted(detector.parts.items())}
    if taken := sorted(parts.keys() & (files or {}).keys()):
        raise ValueError(f"{', '.join(taken)} holds a part of the detector: give the file another name")
    about = {
        "name": detector.name,
        "id": detector.id,
        "kind": detector.method,
        "feature_set": FEATURE_SET,
        "features": list(FEATURE_NAMES),
        **card,
    }
    model_card.write(directory, about, {**parts, **(files or {})})


def load(directory: Path) -> Trained:
    """The detector in *directory*.

    Raises:
        BadModel: a file is missing or was changed since training, or the model has an unknown kind or was trained on
            other features.
    """
    card = model_card.read(directory)
    if card.get("kind") not in METHODS:
        raise BadModel(
            f"{directory}: a detector of kind {card.get('kind')!r}, known are {', '.join(METHODS)}: "
            "train it again with `session-risk train`"
        )
    named = card.get("sha256") or {}
    parts = [part for part in (DETECTOR, SECOND) if part == DETECTOR or file_of(part) in named]
    try:
        arrays = {part: unpack(_verified(directory, card, file_of(part))) for part in parts}
        detector = from_parts(card["name"], card["kind"], arrays)
        # If scikit-learn refuses the arrays, it does so here and not later.
        kinds = np.arange(len(KINDS), dtype=np.uint8)
        detector.score(np.zeros((len(KINDS), len(FEATURE_NAMES)), np.float32), kinds)
    except (ValueError, KeyError, TypeError, IndexError, BadZipFile) as error:
        raise _unusable(directory / ARRAYS, error) from error
    return detector


def load_reference(directory: Path) -> Reference | None:
    """The training data of the model in *directory* as bins; ``None`` if its card names no such file.

    Raises:
        BadModel: as in :func:`load`.
    """
    card = model_card.read(directory)
    if model_card.REFERENCE not in (card.get("sha256") or {}):
        return None
    try:
        arrays = unpack(_verified(directory, card, model_card.REFERENCE))
        return Reference.from_arrays(FEATURE_NAMES, arrays)
    except (ValueError, KeyError, TypeError, BadZipFile) as error:
        raise _unusable(directory / model_card.REFERENCE, error) from error


def load_roles(directory: Path) -> Roles | None:
    """The roles in *directory*; ``None`` if its card names none.

    Raises:
        BadModel: they are missing, were changed since training, or cannot be used.
    """
    card = model_card.read(directory)
    if ROLES not in (card.get("sha256") or {}):
        return None
    try:
        return from_role_arrays(unpack(_verified(directory, card, ROLES)))
    except (BadRoles, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise _unusable(directory / ROLES, error) from error


def _verified(directory: Path, card: Mapping[str, Any], name: str) -> bytes:
    """The bytes of the file *name*, whose hash is in *card*, even if the file changes at the same time.

    A file that the card does not name may be from anybody, and is refused.
    """
    expected = (card.get("sha256") or {}).get(name)
    if expected is None:
        raise BadModel(
            f"{directory / name}: the card vouches for no file of this name; train it again with `session-risk train`"
        )
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        raise BadModel(f"{directory / name}: {error.strerror} while it was read") from error
    if sha256(content).hexdigest() != expected:
        raise BadModel(f"{directory / name}: changed while it was read (its sha256 is not the card's)")
    return content


def _unusable(path: Path, error: Exception) -> BadModel:
    if isinstance(error, BadModel):
        return error
    why = str(error).partition("\n")[0].rstrip(":")
    return BadModel(f"{path}: not a model of this version ({why}); train it again with `session-risk train`")


def window(first_ms: int, last_ms: int) -> list[str]:
    """First and last event time, ms, as ISO 8601 for the card."""
    return [datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") for ms in (first_ms, last_ms)]
