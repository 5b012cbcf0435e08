"""Scored vectors as columns: what is exported, trained on, evaluated and compared, wherever it was read."""

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
"""Rows that are looked at together."""

Column = NDArray[Any]


class Row(NamedTuple):
    """One scored vector, and what is known of it."""

    features: SessionFeatures
    values: NDArray[np.float64]
    label: Label | None = None
    truth: Truth | None = None

    @classmethod
    def of(cls, features: SessionFeatures, label: Label | None = None, truth: Truth | None = None) -> Self:
        """Return the row, its values in the order of the features; `KeyError` names one that is missing."""
        return cls(features, np.array([features.values[name] for name in FEATURE_NAMES]), label, truth)


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows as columns, ``(n,)`` each; times in ms, 0 and texts `None` where there is nothing to tell.

    Attributes:
        role: what the model called the role of a call's session, -1 where it was not clear or not told.
        values: the features in their own units, ``(n, f)``.
        label: 1 attack, 0 none, -1 where no verdict says either; `verdict` is its word.
        truth_label: `benign` or `attack` of the session as a whole; the attack began at `truth_started_at`.
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
        details = [_plain(row) for row in rows]
        columns: dict[str, Any] = {
            name: np.array([item[at] for item in details], TYPES.get(name, object)) for at, name in enumerate(NAMES)
        }
        values = np.array([row.values for row in rows], np.float64).reshape(-1, len(FEATURE_NAMES))
        return cls(**columns, values=values)

    @classmethod
    def together(cls, parts: Iterable[Vectors]) -> Self:
        """Return all rows of *parts*, in order."""
        every = [*parts] or [Vectors.of([])]
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in every]) for name in names})

    def take(self, chosen: NDArray[Any]) -> Vectors:
        """Return the rows *chosen*, by a mask or by their numbers."""
        return Vectors(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def sessions(self) -> list[tuple[str, str]]:
        """Tenant and session id of each row."""
        return list(zip(self.tenant.tolist(), self.session_id.tolist(), strict=True))

    @property
    def attacked(self) -> NDArray[np.bool_]:
        """Rows of an attack that is on, by the truth."""
        attack = (self.truth_label == "attack") & (self.occurred_at >= self.truth_started_at)
        return np.asarray(attack, np.bool_)

    @property
    def honest(self) -> NDArray[np.bool_]:
        """Rows of sessions that are honest by the truth; attacked ones are never, even before the attack."""
        return np.asarray(self.truth_label == "benign", np.bool_)

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """The number of each principal's kind, ``(n,)``."""
        return np.array([PRINCIPAL_KIND[kind or ""] for kind in self.principal_kind.tolist()], np.uint8)

    @property
    def session_numbers(self) -> NDArray[np.int64]:
        """Which session each row is of, as a number: the same for the same session, ``(n,)``."""
        numbers: dict[tuple[str, str], int] = {}
        return np.array([numbers.setdefault(session, len(numbers)) for session in self.sessions], np.int64)

    @property
    def seen(self) -> NDArray[np.float32]:
        """The features as models see them, ``(n, f)``."""
        return as_seen_by_models(np.ascontiguousarray(self.values.T))

    def scores(self, detector: Detector) -> NDArray[np.float64]:
        """What *detector* says of each row, ``(n,)``."""
        if not len(self):  # scikit-learn's trees want a row at least
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
"""Columns that are numbers; the others are texts."""
NAMES: Final = tuple(field.name for field in fields(Vectors) if field.name != "values")
"""All columns but the features."""


def _plain(row: Row) -> tuple[Any, ...]:
    session_features, label, truth = row.features, row.label, row.truth
    meaning = None if label is None else label.meaning
    return (
        session_features.tenant,
        session_features.session_id,
        session_features.principal_kind,
        session_features.event_id,
        session_features.occurred_at,
        session_features.scored_at,
        session_features.level,
        session_features.model,
        session_features.policy,
        -1 if session_features.role is None else session_features.role,
        *(
            (None, -1, 0, None, None)
            if label is None
            else (label.verdict, -1 if meaning is None else meaning, label.at, label.by, label.decision_id)
        ),
        *((None, None, 0) if truth is None else (truth.label, truth.family, truth.started_at)),
    )


def in_chunks(rows: Iterable[Row], size: int = CHUNK) -> Iterator[Vectors]:
    """Yield *rows* as columns, *size* rows at a time."""
    taken = iter(rows)
    while chunk := list(islice(taken, size)):
        yield Vectors.of(chunk)


def drawn(vectors: Vectors, share: float) -> NDArray[np.bool_]:
    """Which rows make a fair sample where LOW was logged at *share*, MEDIUM and HIGH all: a mask ``(n,)``."""
    chosen = by_hash([event_id or "" for event_id in vectors.event_id.tolist()], share)
    return np.asarray((vectors.level == "LOW") | chosen, np.bool_)


def weights(vectors: Vectors, share: float) -> NDArray[np.float64]:
    """How many rows each row stands for where LOW was logged at *share*, MEDIUM and HIGH all, ``(n,)``."""
    return np.where(vectors.level == "LOW", 1 / share if share > 0 else 1.0, 1.0)


def by_hash(names: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Which of *names* are drawn, *share* of them, ``(n,)``: the same for the same name."""
    hashes = [int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) for name in names]
    return np.array([hash_ < share * 2.0**64 for hash_ in hashes], np.bool_)
