"""Data as training, evaluation and reports take it: an export, the output of a replay, or a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.artefact import BadModel
from models.roles import Roles
from pipeline import parquet
from pipeline.assembly import configured
from pipeline.brain import Brain
from pipeline.console import tracked, working
from pipeline.policy import read_policy
from pipeline.recording import TRUTH, read_truth
from pipeline.role_learning import learn_roles
from pipeline.settings import load
from pipeline.sources import Source, chunks, in_recording, in_replay, is_replayed, scored_at_most
from pipeline.training import ROWS, Data, at_most
from pipeline.vectors import CHUNK, Vectors

RECORDING: Final = "recording"
EXPORT: Final = "export"


def learned_in(folder: Path, seed: int, kind: str | None = None) -> Data:
    """Return about `ROWS` vectors of the data in *folder*, and roles: learned from a recording's calls.

    Vectors of an export or a replay were scored by the roles of the model then in force: that is, here, of
    the configured one. Raises `RecordingError` where there is nothing that can be read.
    """
    if parquet.is_export(folder) or is_replayed(folder):
        return data_in(folder, kind, _configured_roles())
    with working("learning roles"):
        roles = learn_roles(folder, left_out=_attacked(folder), seed=seed)
    return data_in(folder, kind, roles)


def _attacked(recording: Path) -> set[tuple[str, str]]:
    """Sessions that are no example of normal traffic."""
    if not any(recording.glob(f"{TRUTH}.jsonl*")):
        return set()
    return {(row.tenant, row.session_id) for row in read_truth(recording) if row.label == "attack"}


def _configured_roles() -> Roles | None:
    settings = load()
    try:
        return configured(settings).models.roles(settings.model)
    except BadModel:  # of other features: there is none to go by until the next one is trained
        return None


def data_in(folder: Path, kind: str | None = None, roles: Roles | None = None) -> Data:
    """Return about `ROWS` vectors of the data in *folder*; *kind* is what to call it.

    A recording is held against *roles*. Raises `RecordingError` where there is none that can be read.
    """
    if parquet.is_export(folder):
        rows = parquet.rows(folder)
        vectors = at_most(tracked(parquet.read(folder), "reading", -(-rows // CHUNK)), rows)
        return Data(vectors, parquet.low_share(folder), kind or EXPORT, roles)
    source = _source(folder, roles)
    return Data(Vectors.together(chunks(source)), source.low_share, kind or RECORDING, roles)


def parts_in(folder: Path, roles: Roles | None = None) -> tuple[float, Iterator[Vectors]]:
    """Return the share of LOW vectors in the data of *folder*, and all of them a chunk at a time."""
    if parquet.is_export(folder):
        return parquet.low_share(folder), parquet.read(folder)
    source = _source(folder, roles)
    return source.low_share, chunks(source)


def _source(folder: Path, roles: Roles | None) -> Source:
    """Vectors as they come of rules alone: which model decides must not choose what the next one learns."""
    settings = load()
    policy = read_policy(settings.policy_file)
    if is_replayed(folder):
        return in_replay(folder, None, policy.low_features_share)
    brain = Brain(roles=roles)
    brain.use_policy(policy)
    return in_recording(folder, brain, settings, scored_at_most(folder, ROWS))
