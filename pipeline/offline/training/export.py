"""Vectors and labels to Parquet, a folder a day: streamed in bounded memory, written all or nothing."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from models.detectors.base import Detector, NoDetector
from models.features.table import FEATURE_NAMES, FEATURE_SET
from pipeline.offline.replay.labels import Labels, Truths
from pipeline.offline.replay.recording import RecordingError
from pipeline.offline.training import parquet
from pipeline.offline.training.vectors import Row, Vectors
from schemas.decisions import SessionFeatures

PART_ROWS: Final = 50_000
"""So many rows are held at most, of all days together; then the fullest day becomes a part."""
REMEMBERED: Final = 200_000
"""So many vectors back one that was delivered twice is recognised."""
MANIFEST: Final = "_export.json"
"""What an export says of itself. Readers of Parquet pass over names with an underscore."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which vectors are wanted: those of event time from *since* to before *until*, ms."""

    since: int = 0
    until: int | None = None


@dataclass(slots=True)
class Count:
    """What became of the vectors that were read."""

    rows: int = 0
    labelled: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    other_sets: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    first_unreadable: str = ""


class Exporter:
    """Takes `session-features` records one by one; see `exporting`."""

    def __init__(
        self,
        folder: Path,
        asked: Asked,
        labels: Labels,
        truths: Truths,
        *,
        detector: Detector,
        low_share: float,
    ) -> None:
        self.count = Count()
        self._folder = folder
        self._asked = asked
        self._labels = labels
        self._truths = truths
        self._detector = detector
        self._low_share = low_share
        self._days: dict[str, list[Row]] = {}
        self._parts: Counter[str] = Counter()
        self._held = 0
        self._seen: OrderedDict[tuple[Any, ...], None] = OrderedDict()

    def take(self, value: bytes) -> None:
        """Take a record of `session-features`; what is not exported is counted, with why."""
        try:
            session_features = SessionFeatures.model_validate_json(value)
        except ValidationError as error:
            self.count.left_out["unreadable"] += 1
            self.count.first_unreadable = self.count.first_unreadable or str(error).replace("\n", " ")
            return
        if session_features.feature_set != FEATURE_SET:
            self.count.other_sets[session_features.feature_set] += 1
            return
        reason = self._why_not(session_features)
        if reason:
            self.count.left_out[reason] += 1
            return
        session = session_features.tenant, session_features.session_id
        label = self._labels.of(session, session_features.scored_at)
        self.count.rows += 1
        self.count.policies[session_features.policy] += 1
        self.count.labelled[label.verdict if label else "none"] += 1
        self._hold(Row.of(session_features, label, self._truths.of(session)))

    def _why_not(self, features: SessionFeatures) -> str:
        if features.occurred_at < self._asked.since:
            return "before --since"
        if self._asked.until is not None and features.occurred_at >= self._asked.until:
            return "from --until on"
        if self._labels.as_of is not None and features.scored_at > self._labels.as_of:
            return "scored after --as-of"
        return "delivered twice" if self._again(features) else ""

    def _again(self, features: SessionFeatures) -> bool:
        """Whether this vector was taken before: after a crash a worker may have sent it twice."""
        key = features.tenant, features.session_id, features.event_id, features.occurred_at
        if features.event_id is not None and key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def _hold(self, row: Row) -> None:
        day = f"{datetime.fromtimestamp(row.features.occurred_at / 1000, UTC):%Y-%m-%d}"
        self._days.setdefault(day, []).append(row)
        self._held += 1
        if self._held >= PART_ROWS:
            self._write(max(self._days, key=lambda day: (len(self._days[day]), day)))

    def _write(self, day: str) -> None:
        vectors = Vectors.of(self._days.pop(day))
        self._held -= len(vectors)
        # A score belongs to the model that gave it: another one's would not be what decided.
        ours = (vectors.model == self._detector.id) & (vectors.model != NoDetector.id)
        scores = np.full(len(vectors), np.nan)
        scores[ours] = vectors.take(ours).scores(self._detector)
        folder = self._folder / f"date={day}"
        folder.mkdir(exist_ok=True)
        parquet.write(vectors, scores, folder / f"part-{self._parts[day]:04}.parquet", self._low_share)
        self._parts[day] += 1

    def finish(self) -> None:
        """Write what is held, and the manifest."""
        for day in sorted(self._days):
            self._write(day)
        manifest = {
            "feature_set": FEATURE_SET,
            "features": list(FEATURE_NAMES),
            "low_share": self._low_share,
            "as_of": self._labels.as_of,
            **counts_as_json(self.count),
        }
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


def counts_as_json(count: Count) -> dict[str, Any]:
    """Return *count* as plain values."""
    return {
        "rows": count.rows,
        "labels": dict(sorted(count.labelled.items())),
        "left_out": dict(sorted(count.left_out.items())),
        "other_feature_sets": dict(sorted(count.other_sets.items())),
    }


@contextmanager
def exporting(
    out: Path, asked: Asked, labels: Labels, truths: Truths, *, detector: Detector, low_share: float
) -> Iterator[Exporter]:
    """Give an exporter whose files appear as the folder *out* when the block ends well.

    Raises:
        RecordingError: something lies there already, or there was nothing to export.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordingError(f"{out} is not empty: name a folder that is not there yet, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = Path(folder) / "export"
        made.mkdir()
        exporter = Exporter(made, asked, labels, truths, detector=detector, low_share=low_share)
        yield exporter
        if not exporter.count.rows:
            raise RecordingError(_nothing(exporter.count))
        exporter.finish()
        made.replace(out)


def sentences(count: Count) -> list[str]:
    """Return what must be said of vectors that were not exported, a sentence each."""
    lines = [
        f"{number:,} vectors of feature set {name} are left out, this is {FEATURE_SET}: sets do not mix; "
        "export them with the version that scored them"
        for name, number in sorted(count.other_sets.items())
    ]
    if count.left_out["unreadable"]:
        number = count.left_out["unreadable"]
        lines.append(f"{number:,} records are no vectors, the first: {count.first_unreadable[:300]}")
    return lines


def _nothing(count: Count) -> str:
    reasons = [f"{number:,} {why}" for why, number in sorted(count.left_out.items())]
    reasons += [f"{number:,} of feature set {name}" for name, number in sorted(count.other_sets.items())]
    return f"there is nothing to export ({', '.join(reasons) or 'no vectors at all'})"
