"""Scored vectors as columns, as they are exported, trained on, evaluated and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Detector
from models.events.columns import PRINCIPAL_KIND
from models.features.table import FEATURE_NAMES, as_seen_by_models
from pipeline.offline.replay.labels import Label
from pipeline.sources.ground_truth import Truth
from schemas.decisions import SessionFeatures

CHUNK: Final = 8_192
"""Number of rows processed together."""

Column = NDArray[Any]


class Row(NamedTuple):
    """One scored vector with its label and ground truth, if known."""

    features: SessionFeatures
    values: NDArray[np.float64]
    label: Label | None = None
    truth: Truth | None = None

    @classmethod
    def of(cls, features: SessionFeatures, label: Label | None = None, truth: Truth | None = None) -> Self:
        """Return the row, with values in the order of the features.

        Raises:
            KeyError: a feature is missing.
        """
        return cls(features, np.array([features.values[name] for name in FEATURE_NAMES]), label, truth)


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows as columns, ``(n,)`` each; a missing time (ms) is 0, a missing text None.

    Attributes:
        role: number of the role that the model gave a call's session, -1 if it was not clear or not recorded.
        values: the features in their own units, ``(n, f)``.
        label: 1 attack, 0 none, -1 if no verdict decides it; `verdict` has its text.
        truth_label: `benign` or `attack`, of the session as a whole; the attack began at `truth_started_at`.
    """

    tenant: Column
    session_id: Column
    principal_kind: Column
    event_id: Column
    occurred_at: NDArray[np.int64]
    scored_at: NDArray[np.int64]
    level: Column
    model: Column
    policy: Column
    role: NDArray[np.int8]
    verdict: Column
    label: NDArray[np.int8]
    label_at: NDArray[np.int64]
    label_by: Column
    label_decision_id: Column
    truth_label: Column
    truth_family: Column
    truth_started_at: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Self:
        """Return *rows* as columns."""
        cells = [_plain(row) for row in rows]
        columns: dict[str, Any] = {
            name: np.array([row[number] for row in cells], TYPES.get(name, object)) for number, name in enumerate(NAMES)
        }
        values = np.array([row.values for row in rows], np.float64).reshape(-1, len(FEATURE_NAMES))
        return cls(**columns, values=values)

    @classmethod
    def together(cls, parts: Iterable[Vectors]) -> Self:
        """Return all rows of *parts*, in order."""
        all_parts = [*parts] or [Vectors.of([])]
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in all_parts]) for name in names})

    def take(self, chosen: NDArray[Any]) -> Vectors:
        """Return the rows *chosen*, given as a mask or as row numbers."""
        return Vectors(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def sessions(self) -> list[tuple[str, str]]:
        """Tenant and session id of each row."""
        return list(zip(self.tenant.tolist(), self.session_id.tolist(), strict=True))

    @property
    def attacked(self) -> NDArray[np.bool_]:
        """Mask of rows during an attack, by the ground truth."""
        attack = (self.truth_label == "attack") & (self.occurred_at >= self.truth_started_at)
        return np.asarray(attack, np.bool_)

    @property
    def honest(self) -> NDArray[np.bool_]:
        """Mask of rows of honest sessions, by the ground truth; rows before an attack do not count as honest."""
        return np.asarray(self.truth_label == "benign", np.bool_)

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """The number of each principal's kind, ``(n,)``."""
        return np.array([PRINCIPAL_KIND[kind or ""] for kind in self.principal_kind.tolist()], np.uint8)

    @property
    def session_numbers(self) -> NDArray[np.int64]:
        """The number of each row's session, ``(n,)``; rows of the same session have the same number."""
        numbers: dict[tuple[str, str], int] = {}
        return np.array([numbers.setdefault(session, len(numbers)) for session in self.sessions], np.int64)

    @property
    def seen(self) -> NDArray[np.float32]:
        """The features as models see them, ``(n, f)``."""
        return as_seen_by_models(np.ascontiguousarray(self.values.T))

    def scores(self, detector: Detector) -> NDArray[np.float64]:
        """The score of each row by *detector*, ``(n,)``."""
        if not len(self):  # scikit-learn needs at least one row
            return np.empty(0)
        return detector.score(self.seen, self.kinds)


TYPES: Final[dict[str, Any]] = {
    "occurred_at": np.int64,
    "scored_at": np.int64,
    "role": np.int8,
    "label": np.int8,
    "label_at": np.int64,
    "truth_started_at": np.int64,
}
"""Types of the numeric columns; the others are texts."""
NAMES: Final = tuple(field.name for field in fields(Vectors) if field.name != "values")
"""All columns except the features."""


def _plain(row: Row) -> tuple[Any, ...]:
    features, label, truth = row.features, row.label, row.truth
    meaning = None if label is None else label.meaning
    return (
        features.tenant,
        features.session_id,
        features.principal_kind,
        features.event_id,
        features.occurred_at,
        features.scored_at,
        features.level,
        features.model,
        features.policy,
        -1 if features.role is None else features.role,
        *(
            (None, -1, 0, None, None)
            if label is None
            else (label.verdict, -1 if meaning is None else meaning, label.at, label.by, label.decision_id)
        ),
        *((None, None, 0) if truth is None else (truth.label, truth.family, truth.started_at)),
    )


def in_chunks(rows: Iterable[Row], size: int = CHUNK) -> Iterator[Vectors]:
    """Yield *rows* as columns, *size* rows at a time."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield Vectors.of(chunk)


def drawn(vectors: Vectors, share: float) -> NDArray[np.bool_]:
    """Mask ``(n,)`` of a fair sample, if *share* of LOW and all of MEDIUM and HIGH were logged."""
    chosen = by_hash([event_id or "" for event_id in vectors.event_id.tolist()], share)
    return np.asarray((vectors.level == "LOW") | chosen, np.bool_)


def weights(vectors: Vectors, share: float) -> NDArray[np.float64]:
    """Weights ``(n,)``: the rows each row stands for, if *share* of LOW and all of MEDIUM and HIGH were logged."""
    return np.where(vectors.level == "LOW", 1 / share if share > 0 else 1.0, 1.0)


def by_hash(names: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Mask ``(n,)`` of the *share* of *names* that are drawn; the same name always gives the same result."""
    hashes = [int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) for name in names]
    return np.array([hash_ < share * 2.0**64 for hash_ in hashes], np.bool_)
