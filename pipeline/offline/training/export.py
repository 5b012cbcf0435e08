"""Export of vectors and labels to Parquet, one folder per day: streamed in bounded memory, written atomically."""

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
"""Maximum number of rows in memory, of all days together; above it, the day with most rows is written."""
REMEMBERED: Final = 200_000
"""Number of vectors that are remembered to recognise one that was delivered twice."""
MANIFEST: Final = "_export.json"
"""The description of an export. Readers of Parquet ignore names that begin with an underscore."""


@dataclass(frozen=True, slots=True)
class Period:
    """Event time of the exported vectors, in ms: from *since*, to before *until*."""

    since: int = 0
    until: int | None = None


@dataclass(slots=True)
class Count:
    """Counts of the vectors that were read."""

    rows: int = 0
    labelled: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    other_sets: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    first_unreadable: str = ""


class Exporter:
    """Exports `session-features` records one by one; see `exporting`."""

    def __init__(
        self,
        folder: Path,
        period: Period,
        labels: Labels,
        truths: Truths,
        *,
        detector: Detector,
        low_share: float,
    ) -> None:
        self.count = Count()
        self._folder = folder
        self._period = period
        self._labels = labels
        self._truths = truths
        self._detector = detector
        self._low_share = low_share
        self._days: dict[str, list[Row]] = {}
        self._parts: Counter[str] = Counter()
        self._buffered = 0
        self._seen: OrderedDict[tuple[Any, ...], None] = OrderedDict()

    def take(self, value: bytes) -> None:
        """Add a record of `session-features`; if it is not exported, it is counted with the reason."""
        try:
            features = SessionFeatures.model_validate_json(value)
        except ValidationError as error:
            self.count.left_out["unreadable"] += 1
            self.count.first_unreadable = self.count.first_unreadable or str(error).replace("\n", " ")
            return
        if features.feature_set != FEATURE_SET:
            self.count.other_sets[features.feature_set] += 1
            return
        reason = self._reason_to_skip(features)
        if reason:
            self.count.left_out[reason] += 1
            return
        session = features.tenant, features.session_id
        label = self._labels.of(session, features.scored_at)
        self.count.rows += 1
        self.count.policies[features.policy] += 1
        self.count.labelled[label.verdict if label else "none"] += 1
        self._add(Row.of(features, label, self._truths.of(session)))

    def _reason_to_skip(self, features: SessionFeatures) -> str:
        if features.occurred_at < self._period.since:
            return "before --since"
        if self._period.until is not None and features.occurred_at >= self._period.until:
            return "from --until on"
        if self._labels.as_of is not None and features.scored_at > self._labels.as_of:
            return "scored after --as-of"
        return "delivered twice" if self._is_repeated(features) else ""

    def _is_repeated(self, features: SessionFeatures) -> bool:
        """Whether this vector was added before: after a crash, a worker may have sent it twice."""
        key = features.tenant, features.session_id, features.event_id, features.occurred_at
        if features.event_id is not None and key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False

    def _add(self, row: Row) -> None:
        day = f"{datetime.fromtimestamp(row.features.occurred_at / 1000, UTC):%Y-%m-%d}"
        self._days.setdefault(day, []).append(row)
        self._buffered += 1
        if self._buffered >= PART_ROWS:
            self._write(max(self._days, key=lambda day: (len(self._days[day]), day)))

    def _write(self, day: str) -> None:
        vectors = Vectors.of(self._days.pop(day))
        self._buffered -= len(vectors)
        # Only the model that scored a vector gives the score that was used in the decision.
        same_model = (vectors.model == self._detector.id) & (vectors.model != NoDetector.id)
        scores = np.full(len(vectors), np.nan)
        scores[same_model] = vectors.take(same_model).scores(self._detector)
        folder = self._folder / f"date={day}"
        folder.mkdir(exist_ok=True)
        parquet.write(vectors, scores, folder / f"part-{self._parts[day]:04}.parquet", self._low_share)
        self._parts[day] += 1

    def finish(self) -> None:
        """Write the remaining rows, and the manifest."""
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
    out: Path, period: Period, labels: Labels, truths: Truths, *, detector: Detector, low_share: float
) -> Iterator[Exporter]:
    """Yield an exporter whose files appear as the folder *out* if the block ends without an error.

    Raises:
        RecordingError: *out* is not empty, or there was nothing to export.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordingError(f"{out} is not empty: give a new folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = Path(folder) / "export"
        made.mkdir()
        exporter = Exporter(made, period, labels, truths, detector=detector, low_share=low_share)
        yield exporter
        if not exporter.count.rows:
            raise RecordingError(_nothing(exporter.count))
        exporter.finish()
        made.replace(out)


def sentences(count: Count) -> list[str]:
    """Return a warning for each kind of vectors that could not be exported."""
    lines = [
        f"{number:,} vectors of feature set {name} are left out, the current one is {FEATURE_SET}: they cannot be "
        "mixed; export them with the version that scored them"
        for name, number in sorted(count.other_sets.items())
    ]
    if count.left_out["unreadable"]:
        number = count.left_out["unreadable"]
        lines.append(f"{number:,} records are not vectors, the first: {count.first_unreadable[:300]}")
    return lines


def _nothing(count: Count) -> str:
    reasons = [f"{number:,} {why}" for why, number in sorted(count.left_out.items())]
    reasons += [f"{number:,} of feature set {name}" for name, number in sorted(count.other_sets.items())]
    return f"there is nothing to export ({', '.join(reasons) or 'no vectors at all'})"
