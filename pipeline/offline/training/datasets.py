"""Datasets: scored vectors read from an export, the output of a replay, a recording that is replayed, or Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from pydantic import ValidationError

from models.artefacts import BadModel
from models.roles.roles import Roles
from pipeline.assembly import options, processor_specs
from pipeline.console import tracked, working
from pipeline.control.active import ActiveConfig
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.policy import read_policy
from pipeline.kafka.client import read_topic
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.labels import Labels, Truths
from pipeline.offline.replay.recording import TRUTH, RecordingError, lines, read, read_truth
from pipeline.offline.replay.runner import Replay
from pipeline.offline.training import parquet
from pipeline.offline.training.roles import learn_roles, with_tenant_cohorts
from pipeline.offline.training.scored_by import known_roles, with_roles_of_vectors
from pipeline.offline.training.train import ROWS, Data, sample
from pipeline.offline.training.vectors import CHUNK, Row, Vectors, drawn, in_chunks
from pipeline.settings.loading import Settings, load
from pipeline.sources.ground_truth import Truth
from schemas.control import SessionFeedback
from schemas.decisions import SessionFeatures
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY, SESSION_FEATURES, SESSION_FEEDBACK

FOREVER_MS: Final = 2**62
PARTITIONS: Final = 1
EVENTS: Final = (AUTH_EVENTS, DEVICE_TELEMETRY, API_CALLS)
"""The topics of a recording but verdicts and acknowledgements."""


class Digest(Protocol):
    """A hash that is computed part by part."""

    def update(self, data: bytes, /) -> None:
        """Add *data*."""


@dataclass(slots=True)
class Source:
    """Raw records of vectors, with verdicts and ground truth of their sessions.

    *low_share* is the share of LOW vectors that are included; *unreadable* counts invalid verdicts.
    """

    vectors: Iterable[bytes]
    low_share: float
    verdicts: list[SessionFeedback] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    unreadable: int = 0

    def add_feedback(self, values: Iterable[bytes]) -> None:
        """Add the records of `session-feedback`."""
        for value in values:
            try:
                self.verdicts.append(SessionFeedback.model_validate_json(value))
            except ValidationError:
                self.unreadable += 1

    def rows(self, reach_ms: int = FOREVER_MS) -> Iterator[Row]:
        """Yield the vectors with their final labels.

        Raises:
            RecordingError: a record is not a vector of the current features.
        """
        labels, truths = Labels(self.verdicts, None, reach_ms), Truths(self.truth)
        for number, value in enumerate(self.vectors, start=1):
            try:
                features = SessionFeatures.model_validate_json(value)
                session = features.tenant, features.session_id
                yield Row.of(features, labels.of(session, features.scored_at), truths.of(session))
            except (ValidationError, KeyError) as error:
                reason = str(error).replace("\n", " ")
                raise RecordingError(
                    f"{SESSION_FEATURES}, record {number}: not a vector of the current features: {reason}"
                ) from error


@contextmanager
def in_kafka(settings: Settings, low_share: float) -> Iterator[Source]:
    """Yield what `session-features` and `session-feedback` contain now; raises the errors of `on_topic`."""
    connection = Connection.of(settings)
    source = Source((), low_share)
    with read_topic(connection, SESSION_FEEDBACK) as (_, values):
        source.add_feedback(values)
    with read_topic(connection, SESSION_FEATURES) as (total, values):
        source.vectors = tracked(values, "reading vectors", total)
        yield source


def is_replayed(folder: Path) -> bool:
    """Whether *folder* is the output of a replay."""
    return next(lines(folder, SESSION_FEATURES), None) is not None


def in_replay(folder: Path, recording: Path | None, low_share: float) -> Source:
    """Return the vectors that a replay wrote to *folder*, with the verdicts and ground truth of its *recording*."""
    values = tracked((value for _, value in lines(folder, SESSION_FEATURES)), "reading vectors", None)
    return _labelled(Source(values, low_share), recording or folder)


def in_recording(recording: Path, active: ActiveConfig, settings: Settings, low_share: float) -> Source:
    """Return the vectors of *recording*, replayed with *active* and with *low_share* of the LOW vectors.

    Raises:
        RecordingError: the recording cannot be read.
    """
    policy = active.engine.policy
    active.use_policy(policy.model_copy(update={"low_features_share": low_share}))
    replay = Replay(processor_specs(active, options(settings, PARTITIONS, event_clock=True)), PARTITIONS)
    with working("counting"):
        total = sum(1 for _ in read(recording))
    values = (
        message.value
        for message in replay.run(tracked(read(recording), "replaying", total))
        if message.topic == SESSION_FEATURES
    )
    return _labelled(Source(values, low_share), recording)


def _labelled(source: Source, recording: Path) -> Source:
    source.add_feedback(value for _, value in lines(recording, SESSION_FEEDBACK))
    if any(recording.glob(f"{TRUTH}.jsonl*")):
        source.truth = read_truth(recording)
    return source


def low_share_for(recording: Path, rows: int) -> float:
    """Return the share of LOW vectors that gives about *rows* vectors of *recording*."""
    events = sum(record.topic != DEVICE_TELEMETRY for record in read(recording))
    return min(1.0, rows / max(1, events))


def chunks(source: Source) -> Iterator[Vectors]:
    """Yield the vectors of *source* as columns."""
    return in_chunks(source.rows())


RECORDING: Final = "recording"
EXPORT: Final = "export"


def learned_in(folder: Path, seed: int, kind: str | None = None, *, tenants: bool = True) -> Data:
    """Return about `ROWS` vectors of the data in *folder*, and roles, which are learned from a recording's calls.

    Vectors of an export or a replay were scored with the roles of the model that they name: these are the roles, and
    vectors that were scored with others are left out. With *tenants*, roles also have the usual values of each tenant
    that is large enough.

    Raises:
        RecordingError: there is no readable data.
        BadModel: no model that the vectors name can be loaded.
    """
    if parquet.is_export(folder) or is_replayed(folder):
        try:
            data = with_roles_of_vectors(data_in(folder, kind), known_roles(load()))
        except BadModel as error:
            raise BadModel(f"{folder}: {error}") from error
        return with_tenant_cohorts(data) if tenants else data
    return data_in(folder, kind, roles_in(folder, seed, tenants=tenants))


def roles_in(recording: Path, seed: int, *, tenants: bool = True) -> Roles | None:
    """Return the roles learned from the calls of *recording*, without sessions that its ground truth calls attacked.

    With *tenants*, they also have the usual values of each tenant that is large enough.
    """
    with working("learning roles"):
        return learn_roles(recording, left_out=_attacked(recording), seed=seed, tenants=tenants)


def _attacked(recording: Path) -> set[tuple[str, str]]:
    """Sessions that are not examples of normal traffic."""
    if not any(recording.glob(f"{TRUTH}.jsonl*")):
        return set()
    return {(row.tenant, row.session_id) for row in read_truth(recording) if row.label == "attack"}


def data_in(folder: Path, kind: str | None = None, roles: Roles | None = None) -> Data:
    """Return about `ROWS` vectors of the data in *folder*; *kind* describes the data.

    A recording is replayed with *roles*.

    Raises:
        RecordingError: there is no readable data.
    """
    if parquet.is_export(folder):
        rows, digest = parquet.rows(folder), sha256()
        vectors = sample(digested(tracked(parquet.read(folder), "reading", -(-rows // CHUNK)), digest), rows)
        return Data(vectors, parquet.low_share(folder), kind or EXPORT, roles, digest.hexdigest())
    source = _source(folder, roles)
    vectors = Vectors.together(chunks(source))
    return Data(vectors, source.low_share, kind or RECORDING, roles, _sha256_of_lines(folder))


def digested(parts: Iterable[Vectors], digest: Digest) -> Iterator[Vectors]:
    """Yield *parts*; *digest* gets time and features of every vector, so that it does not matter how they are cut."""
    for part in parts:
        digest.update(np.column_stack([part.occurred_at.view(np.float64), part.values]).tobytes())
        yield part


def _sha256_of_lines(folder: Path) -> str:
    """The SHA-256 of what a replay logged in *folder*, else of the events of the recording; of no labels."""
    digest = sha256()
    for topic in (SESSION_FEATURES,) if is_replayed(folder) else EVENTS:
        digest.update(f"{topic}\n".encode())
        for _, value in lines(folder, topic):
            digest.update(value + b"\n")
    return digest.hexdigest()


def parts_in(folder: Path, roles: Roles | None = None) -> tuple[float, Iterator[Vectors]]:
    """Return the share of LOW vectors in the data of *folder*, and all vectors, a chunk at a time."""
    if parquet.is_export(folder):
        return parquet.low_share(folder), parquet.read(folder)
    source = _source(folder, roles)
    return source.low_share, chunks(source)


def sample_of(recording: Path, rows: int, roles: Roles | None = None) -> Vectors:
    """Return about *rows* vectors of *recording*, replayed with *roles*: a fair sample of all levels.

    The recording is replayed even if its folder also has an export.

    Raises:
        RecordingError: the recording cannot be read.
    """
    source = _replayed(recording, roles, rows)
    return Vectors.together(part.take(drawn(part, source.low_share)) for part in chunks(source))


def _source(folder: Path, roles: Roles | None) -> Source:
    if is_replayed(folder):
        return in_replay(folder, None, read_policy(load().policy_file).low_features_share)
    return _replayed(folder, roles, ROWS)


def _replayed(recording: Path, roles: Roles | None, rows: int) -> Source:
    """Vectors of a replay without a model: the current model must not choose what the next one learns."""
    settings = load()
    active = ActiveConfig(PolicyEngine(read_policy(settings.policy_file)), roles=roles)
    return in_recording(recording, active, settings, low_share_for(recording, rows))
