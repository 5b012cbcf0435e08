"""Where scored vectors come from: an export, the output of a replay, a recording to replay, or Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.artefacts import BadModel
from models.roles.roles import Roles
from pipeline.assembly import configured, options, processor_specs
from pipeline.console import tracked, working
from pipeline.control.active import ActiveConfig
from pipeline.decisions.engine import PolicyEngine
from pipeline.decisions.policy import read_policy
from pipeline.kafka.client import on_topic
from pipeline.kafka.connection import Connection
from pipeline.offline.replay.labels import Labels, Truths
from pipeline.offline.replay.recording import TRUTH, RecordingError, lines, read, read_truth
from pipeline.offline.replay.runner import Replay
from pipeline.offline.training import parquet
from pipeline.offline.training.roles import learn_roles, with_cohorts
from pipeline.offline.training.train import ROWS, Data, at_most
from pipeline.offline.training.vectors import CHUNK, Row, Vectors, drawn, in_chunks
from pipeline.settings.loading import Settings, load
from pipeline.sources.ground_truth import Truth
from schemas.control import SessionFeedback
from schemas.decisions import SessionFeatures
from schemas.topics import DEVICE_TELEMETRY, SESSION_FEATURES, SESSION_FEEDBACK

FOREVER_MS: Final = 2**62
PARTITIONS: Final = 1


@dataclass(slots=True)
class Source:
    """Vectors as they were said, with what people and the truth say of their sessions.

    *low_share* is the share of LOW vectors among them; *unreadable* counts verdicts that are none.
    """

    vectors: Iterable[bytes]
    low_share: float
    verdicts: list[SessionFeedback] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    unreadable: int = 0

    def add_feedback(self, values: Iterable[bytes]) -> None:
        """Take the records of `session-feedback`."""
        for value in values:
            try:
                self.verdicts.append(SessionFeedback.model_validate_json(value))
            except ValidationError:
                self.unreadable += 1

    def rows(self, reach_ms: int = FOREVER_MS) -> Iterator[Row]:
        """Yield the vectors with their labels as of the end; raises `RecordingError` at one that is none."""
        labels, truths = Labels(self.verdicts, None, reach_ms), Truths(self.truth)
        for number, value in enumerate(self.vectors, start=1):
            try:
                session_features = SessionFeatures.model_validate_json(value)
                session = session_features.tenant, session_features.session_id
                yield Row.of(session_features, labels.of(session, session_features.scored_at), truths.of(session))
            except (ValidationError, KeyError) as error:
                why = str(error).replace("\n", " ")
                raise RecordingError(f"{SESSION_FEATURES}, record {number}: no vector of today: {why}") from error


@contextmanager
def in_kafka(settings: Settings, low_share: float) -> Iterator[Source]:
    """Give what `session-features` and `session-feedback` hold now; raises as `history.on_topic` does."""
    connection = Connection.of(settings)
    source = Source((), low_share)
    with on_topic(connection, SESSION_FEEDBACK) as (_, values):
        source.add_feedback(values)
    with on_topic(connection, SESSION_FEATURES) as (total, values):
        source.vectors = tracked(values, "reading vectors", total)
        yield source


def is_replayed(folder: Path) -> bool:
    """Whether *folder* is what a replay wrote."""
    return next(lines(folder, SESSION_FEATURES), None) is not None


def in_replay(folder: Path, recording: Path | None, low_share: float) -> Source:
    """Return what a replay wrote to *folder*, with the verdicts and the truth of its *recording*."""
    messages = tracked((value for _, value in lines(folder, SESSION_FEATURES)), "reading vectors", None)
    return _known(Source(messages, low_share), recording or folder)


def in_recording(recording: Path, brain: ActiveConfig, settings: Settings, low_share: float) -> Source:
    """Return the vectors of *recording*, replayed by *brain* with *low_share* of the LOW ones.

    Raises `RecordingError`.
    """
    policy = brain.judge.policy
    brain.use_policy(policy.model_copy(update={"low_features_share": low_share}))
    stages = Replay(processor_specs(brain, options(settings, PARTITIONS, event_clock=True)), PARTITIONS)
    with working("counting"):
        total = sum(1 for _ in read(recording))
    payloads = (
        message.value
        for message in stages.run(tracked(read(recording), "playing", total))
        if message.topic == SESSION_FEATURES
    )
    return _known(Source(payloads, low_share), recording)


def _known(source: Source, recording: Path) -> Source:
    source.add_feedback(value for _, value in lines(recording, SESSION_FEEDBACK))
    if any(recording.glob(f"{TRUTH}.jsonl*")):
        source.truth = read_truth(recording)
    return source


def scored_at_most(recording: Path, rows: int) -> float:
    """Return the share of LOW vectors to keep for about *rows* vectors of *recording*."""
    events = sum(record.topic != DEVICE_TELEMETRY for record in read(recording))
    return min(1.0, rows / max(1, events))


def chunks(source: Source) -> Iterator[Vectors]:
    """Yield the vectors of *source* as columns."""
    return in_chunks(source.rows())


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
    brain = ActiveConfig(PolicyEngine(read_policy(settings.policy_file)), roles=roles)
    return in_recording(recording, brain, settings, scored_at_most(recording, rows))
