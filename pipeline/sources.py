"""Where scored vectors come from: an export, the output of a replay, a recording to replay, or Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from pipeline.assembly import options
from pipeline.brain import Brain
from pipeline.connection import Connection
from pipeline.console import tracked, working
from pipeline.history import on_topic
from pipeline.kinds import stage_kinds
from pipeline.labels import Labels, Truths
from pipeline.recording import TRUTH, RecordingError, Truth, lines, read, read_truth
from pipeline.replay import Replay
from pipeline.settings import Settings
from pipeline.vectors import Row, Vectors, in_chunks
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

    def heard(self, values: Iterable[bytes]) -> None:
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
                told = SessionFeatures.model_validate_json(value)
                session = told.tenant, told.session_id
                yield Row.of(told, labels.of(session, told.scored_at), truths.of(session))
            except (ValidationError, KeyError) as error:
                why = str(error).replace("\n", " ")
                raise RecordingError(
                    f"{SESSION_FEATURES}, record {number}: no vector of today: {why}"
                ) from error


@contextmanager
def in_kafka(settings: Settings, low_share: float) -> Iterator[Source]:
    """Give what `session-features` and `session-feedback` hold now; raises as `history.on_topic` does."""
    connection = Connection.of(settings)
    source = Source((), low_share)
    with on_topic(connection, SESSION_FEEDBACK) as (_, values):
        source.heard(values)
    with on_topic(connection, SESSION_FEATURES) as (total, values):
        source.vectors = tracked(values, "reading vectors", total)
        yield source


def is_replayed(folder: Path) -> bool:
    """Whether *folder* is what a replay wrote."""
    return next(lines(folder, SESSION_FEATURES), None) is not None


def in_replay(folder: Path, recording: Path | None, low_share: float) -> Source:
    """Return what a replay wrote to *folder*, with the verdicts and the truth of its *recording*."""
    said = tracked((value for _, value in lines(folder, SESSION_FEATURES)), "reading vectors", None)
    return _known(Source(said, low_share), recording or folder)


def in_recording(recording: Path, brain: Brain, settings: Settings, low_share: float) -> Source:
    """Return the vectors of *recording*, replayed by *brain* with *low_share* of the LOW ones.

    Raises `RecordingError`.
    """
    policy = brain.judge.policy
    brain.use_policy(policy.model_copy(update={"low_features_share": low_share}))
    stages = Replay(stage_kinds(brain, options(settings, PARTITIONS, event_clock=True)), PARTITIONS)
    with working("counting"):
        total = sum(1 for _ in read(recording))
    said = (
        message.value
        for message in stages.run(tracked(read(recording), "playing", total))
        if message.topic == SESSION_FEATURES
    )
    return _known(Source(said, low_share), recording)


def _known(source: Source, recording: Path) -> Source:
    source.heard(value for _, value in lines(recording, SESSION_FEEDBACK))
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
