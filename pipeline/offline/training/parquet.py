"""Parquet files of vectors: one column per feature, with the feature set in the metadata of the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.features.table import FEATURE_NAMES, FEATURE_SET
from pipeline.offline.replay.recording import RecordingError
from pipeline.offline.training.vectors import CHUNK, NAMES, TYPES, Vectors

PATTERN: Final = "date=*/part-*.parquet"
"""Paths of the files of an export: one folder per day of event time, UTC."""
SCORE: Final = "score"
SET: Final = b"session_risk.feature_set"
LOW_SHARE: Final = b"session_risk.low_share"

_TIME: Final = pa.timestamp("ms", tz="UTC")
_TIMES: Final = frozenset({"occurred_at", "scored_at", "label_at", "truth_started_at"})
_MISSING_CODE: Final = {"label": -1, "role": -1}
"""The number that means missing, in columns where 0 is a value."""
_NULLABLE_TIMES: Final = frozenset({"label_at", "truth_started_at"})


def schema(low_share: float) -> pa.Schema:
    """Return the columns of a file; *low_share* is the share of LOW vectors that was logged."""
    fields = [(name, _type(name)) for name in NAMES]
    fields += [("feature_set", pa.string()), (SCORE, pa.float64())]
    fields += [(name, pa.float64()) for name in FEATURE_NAMES]
    return pa.schema(fields, metadata={SET: FEATURE_SET.encode(), LOW_SHARE: repr(low_share).encode()})


def write(vectors: Vectors, scores: NDArray[np.float64], path: Path, low_share: float) -> None:
    """Write *vectors* and *scores* ``(n,)``, NaN if unknown, to the file *path*."""
    columns = [_column(name, getattr(vectors, name)) for name in NAMES]
    columns.append(pa.array([FEATURE_SET] * len(vectors), pa.string()))
    columns.append(pa.array(scores, pa.float64(), mask=np.isnan(scores)))
    columns += [pa.array(column) for column in np.ascontiguousarray(vectors.values.T)]
    table = pa.Table.from_arrays(columns, schema=schema(low_share))
    pq.write_table(table, path, compression="zstd")


def is_export(folder: Path) -> bool:
    """Whether *folder* has an export."""
    return next(folder.glob(PATTERN), None) is not None


def low_share(folder: Path) -> float:
    """Return the share of LOW vectors that was logged, from the metadata of the export in *folder*."""
    return float(_metadata(next(iter(_files(folder))))[LOW_SHARE])


def rows(folder: Path) -> int:
    """Return the number of vectors in the export in *folder*."""
    return sum(int(pq.read_metadata(path).num_rows) for path in _files(folder))


def read(folder: Path, size: int = CHUNK) -> Iterator[Vectors]:
    """Yield the vectors of the export in *folder*, day by day, *size* at a time, in bounded memory.

    Raises:
        RecordingError: there is no export, a file is damaged, or its vectors have another feature set.
    """
    columns = [*NAMES, *FEATURE_NAMES]
    for path in _files(folder):
        _metadata(path)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(size, columns=columns, use_threads=False):
                    yield _vectors(batch)
        except (pa.ArrowException, OSError) as error:
            raise RecordingError(f"{path}: cannot be read: {error}") from error


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise RecordingError(f"{folder} has no export: expected {PATTERN}, as `session-risk export` writes")
    return files


def _metadata(path: Path) -> dict[bytes, bytes]:
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise RecordingError(f"{path}: not a Parquet file: {error}") from error
    found = metadata.get(SET, b"without a name").decode()
    if found != FEATURE_SET:
        raise RecordingError(
            f"{path}: has vectors of feature set {found}, but the current one is {FEATURE_SET}: export vectors "
            "that were scored with the current features"
        )
    return dict(metadata)


def _type(name: str) -> Any:
    if name in _TIMES:
        return _TIME
    return pa.int8() if name in TYPES else pa.string()


def _column(name: str, column: NDArray[Any]) -> pa.Array:
    if name in _NULLABLE_TIMES:
        return pa.array(column, pa.int64(), mask=column == 0).cast(_TIME)
    if name in _MISSING_CODE:
        return pa.array(column, pa.int8(), mask=column < 0)
    return pa.array(column, pa.int64()).cast(_TIME) if name in _TIMES else pa.array(column, pa.string())


def _vectors(batch: pa.RecordBatch) -> Vectors:
    if "role" not in batch.schema.names:  # an export from a version without roles
        batch = batch.append_column("role", pa.nulls(len(batch), pa.int8()))
    columns: dict[str, Any] = {name: _read(name, batch.column(name)) for name in NAMES}
    values = np.column_stack([batch.column(name).to_numpy() for name in FEATURE_NAMES])
    return Vectors(**columns, values=values)


def _read(name: str, column: pa.Array) -> NDArray[Any]:
    if name not in TYPES:
        return np.array(column.to_pylist(), object)
    if name in _TIMES:
        column = column.cast(pa.int64())
    missing = _MISSING_CODE.get(name, 0)
    numbers: NDArray[Any] = column.fill_null(missing).to_numpy().astype(TYPES[name])
    return numbers
