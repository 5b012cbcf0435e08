"""Data as training, evaluation and reports take it: an export, the output of a replay, or a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline import parquet
from pipeline.brain import Brain
from pipeline.console import tracked
from pipeline.policy import read_policy
from pipeline.settings import load
from pipeline.sources import Source, chunks, in_recording, in_replay, is_replayed, scored_at_most
from pipeline.training import ROWS, Data, at_most
from pipeline.vectors import CHUNK, Vectors

RECORDING: Final = "recording"
EXPORT: Final = "export"


def data_in(folder: Path, kind: str | None = None) -> Data:
    """Return about `ROWS` vectors of the data in *folder*; *kind* is what to call it.

    Raises `RecordingError` where there is none that can be read.
    """
    if parquet.is_export(folder):
        rows = parquet.rows(folder)
        vectors = at_most(tracked(parquet.read(folder), "reading", -(-rows // CHUNK)), rows)
        return Data(vectors, parquet.low_share(folder), kind or EXPORT)
    source = _source(folder)
    return Data(Vectors.together(chunks(source)), source.low_share, kind or RECORDING)


def parts_in(folder: Path) -> tuple[float, Iterator[Vectors]]:
    """Return the share of LOW vectors in the data of *folder*, and all of them a chunk at a time."""
    if parquet.is_export(folder):
        return parquet.low_share(folder), parquet.read(folder)
    source = _source(folder)
    return source.low_share, chunks(source)


def _source(folder: Path) -> Source:
    """Vectors as they come of rules alone: which model decides must not choose what the next one learns."""
    settings = load()
    policy = read_policy(settings.policy_file)
    if is_replayed(folder):
        return in_replay(folder, None, policy.low_features_share)
    brain = Brain()
    brain.use_policy(policy)
    return in_recording(folder, brain, settings, scored_at_most(folder, ROWS))
