"""Vectors and verdicts as they are told, exported to Parquet, and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.detectors.base import Detector, NoDetector
from models.features.table import FEATURE_NAMES, FEATURE_SET
from pipeline.offline.replay.labels import Labels, Truths
from pipeline.offline.training import export, parquet
from pipeline.offline.training.export import Period, exporting
from pipeline.offline.training.vectors import Vectors
from pipeline.sources.ground_truth import Truth
from schemas.control import SessionFeedback
from tests.support.samples import T0

DAY = 86_400_000
HOUR = 3_600_000


def vector(number: int = 0, at: int = T0, **members: Any) -> dict[str, Any]:
    """A record of `session-features`, its values telling the *number*."""
    return {
        "tenant": "acme",
        "session_id": "s-1",
        "principal_kind": "human",
        "event_id": f"e-{number}",
        "occurred_at": at,
        "scored_at": at,
        "level": "LOW",
        "model": "toy@1",
        "policy": "default@1",
        "feature_set": FEATURE_SET,
        "values": {name: number + place / 7 for place, name in enumerate(FEATURE_NAMES)},
        **members,
    }


def verdict(at: int, output: str = "true_positive", **members: Any) -> SessionFeedback:
    fields = {"tenant": "acme", "session_id": "s-1", "reported_by": "soc", **members}
    return SessionFeedback.model_validate({**fields, "verdict": output, "occurred_at": at})


def exported(
    out: Path,
    vectors: list[dict[str, Any]],
    *verdicts: SessionFeedback,
    period: Period = Period(),  # noqa: B008 - frozen
    as_of: int | None = None,
    truth: tuple[Truth, ...] = (),
    detector: Detector = NoDetector(),  # noqa: B008 - knows nothing
) -> export.Count:
    """Export *vectors* to *out*; what became of them is returned."""
    labels = Labels(verdicts, as_of, 7 * DAY)
    with exporting(out, period, labels, Truths(truth), detector=detector, low_share=0.5) as exporter:
        for vector in vectors:
            exporter.take(json.dumps(vector).encode())
    return exporter.count


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def back(folder: Path) -> Vectors:
    return Vectors.together(parquet.read(folder))
