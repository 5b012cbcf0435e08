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
from pipeline.cohort_learning import with_cohorts
from pipeline.console import tracked, working
from pipeline.decision import Judge
from pipeline.policy import read_policy
from pipeline.recording import TRUTH, read_truth
from pipeline.role_learning import learn_roles
from pipeline.settings import load
from pipeline.sources import Source, chunks, in_recording, in_replay, is_replayed, scored_at_most
from pipeline.training import ROWS, Data, at_most
from pipeline.vectors import CHUNK, Vectors, drawn

RECORDING: Final = "recording"
EXPORT: Final = "export"


def learned_in(folder: Path, seed: int, kind: str | None = None, *, tenants: bool = True) -> Data:
    """Return about `ROWS` vectors of the data in *folder*, and roles: learned from a recording's calls.

    Vectors of an export or a replay were scored by the roles of the model then in force: that is, here, of
    the configured one. With *tenants* the roles know also what is usual at each that is large enough. Raises
    `RecordingError` where there is nothing that can be read.
    """
    if parquet.is_export(folder) or is_replayed(folder):
        model, roles = _configured()
        data = data_in(folder, kind, roles)
        return with_cohorts(data, model) if tenants else data
    return data_in(folder, kind, roles_in(folder, seed, tenants=tenants))


def roles_in(recording: Path, seed: int, *, tenants: bool = True) -> Roles | None:
    """Return the roles learned from the calls of *recording*, but for sessions that it says were attacked.

    With *tenants* they know also what is usual at each that is large enough.
    """
    with working("learning roles"):
        return learn_roles(recording, left_out=_attacked(recording), seed=seed, tenants=tenants)


def _attacked(recording: Path) -> set[tuple[str, str]]:
    """Sessions that are no example of normal traffic."""
    if not any(recording.glob(f"{TRUTH}.jsonl*")):
        return set()
    return {(row.tenant, row.session_id) for row in read_truth(recording) if row.label == "attack"}


def _configured() -> tuple[str, Roles | None]:
    """The id of the configured model, and its roles."""
    settings = load()
    models = configured(settings).models
    try:
        return models.load(settings.model).id, models.roles(settings.model)
    except BadModel:  # of other features: there is none to go by until the next one is trained
        return "", None


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


def sample_of(recording: Path, rows: int, roles: Roles | None = None) -> Vectors:
    """Return about *rows* vectors of *recording*, held against *roles*: a fair sample, all levels alike.

    It is replayed, whatever else lies in its folder. Raises `RecordingError`.
    """
    source = _replayed(recording, roles, rows)
    return Vectors.together(part.take(drawn(part, source.low_share)) for part in chunks(source))


def _source(folder: Path, roles: Roles | None) -> Source:
    if is_replayed(folder):
        return in_replay(folder, None, read_policy(load().policy_file).low_features_share)
    return _replayed(folder, roles, ROWS)


def _replayed(recording: Path, roles: Roles | None, rows: int) -> Source:
    """Vectors as they come of rules alone: which model decides must not choose what the next one learns."""
    settings = load()
    brain = Brain(Judge(read_policy(settings.policy_file)), roles=roles)
    return in_recording(recording, brain, settings, scored_at_most(recording, rows))
