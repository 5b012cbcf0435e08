"""Comparison of two models on the same data: the result of each session, and where the results differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from models.detectors.base import BANDS, Detector
from pipeline.assembly import options, processor_specs
from pipeline.console import tracked, working
from pipeline.control.active import ActiveConfig
from pipeline.control.reloader import Model
from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import LEVELS
from pipeline.offline.replay.answers import Answers
from pipeline.offline.replay.labels import SessionKey, Truths
from pipeline.offline.replay.recording import read
from pipeline.offline.replay.runner import Replay
from pipeline.offline.training.datasets import PARTITIONS
from pipeline.offline.training.vectors import Vectors
from pipeline.processing.processor import Message
from pipeline.settings.loading import Settings
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK

STEPS: Final = ("nothing", "noticed", "step_up", "revoke")
"""Possible results for a session, the mildest first; *noticed* means a level above LOW without a command."""


@dataclass(slots=True)
class SessionResult:
    """The result of one session: highest level and score, commands, and the detections at the highest score."""

    level: str = LEVELS[0]
    score: float = 0.0
    challenged: bool = False
    revoked: bool = False
    reasons: list[str] = field(default_factory=list)

    @property
    def step(self) -> str:
        """Return the most severe of `STEPS` that applies."""
        if self.revoked:
            return "revoke"
        if self.challenged:
            return "step_up"
        return STEPS[0] if self.level == LEVELS[0] else "noticed"


@dataclass(slots=True)
class ResultCollector:
    """Collects the messages of a replay into one `SessionResult` per session with a decision or command."""

    by_session: dict[SessionKey, SessionResult] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Add *message*, if it is a decision or a command."""
        if message.topic not in (SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        record = from_json(message.value)
        result = self.by_session.setdefault((record["tenant"], record["session_id"]), SessionResult())
        if message.topic == SESSION_RISK:
            if record["score"] > result.score:
                contributing = [reason for reason in record["reasons"] if reason["contribution"] > 0]
                result.score, result.reasons = record["score"], [reason["detection"] for reason in contributing]
            result.level = max(result.level, record["level"], key=LEVELS.index)
        elif message.topic == SESSION_REVOCATIONS:
            result.revoked = True
        else:
            result.challenged = True


def results_on(
    recording: Path, model: Model, policy: Policy, settings: Settings, answers: Answers | None = None
) -> dict[SessionKey, SessionResult]:
    """Return the result of each session of *recording* that *model* and *policy* decide on.

    Without *answers* nobody answers a challenge.

    Raises:
        RecordingError: the recording cannot be read.
    """
    detector, roles = model
    active = ActiveConfig(detector=detector, roles=roles)
    active.use_policy(policy)
    specs = processor_specs(active, options(settings, PARTITIONS, event_clock=True))
    with working("counting"):
        total = sum(1 for _ in read(recording))
    results = ResultCollector()
    for message in Replay(specs, PARTITIONS, answers=answers).run(tracked(read(recording), "replaying", total)):
        results.take(message)
    return results.by_session


def compare_results(
    first: Mapping[SessionKey, SessionResult], second: Mapping[SessionKey, SessionResult], truths: Truths
) -> dict[str, Any]:
    """Return the differences between two replays: a summary, then each session that differs."""
    changes: Counter[str] = Counter()
    sessions = []
    for key in sorted(first.keys() | second.keys()):
        result, other = first.get(key, SessionResult()), second.get(key, SessionResult())
        if (result.level, result.step) == (other.level, other.step):
            continue
        truth = truths.of(key)
        change = f"{result.step} → {other.step}" if result.step != other.step else f"{result.level} → {other.level}"
        label = truth.label if truth else "unknown"
        changes[f"{label}: {change}"] += 1
        sessions.append(
            {
                "tenant": key[0],
                "session_id": key[1],
                "label": label,
                "family": truth.family if truth else None,
                "change": change,
                "a": asdict(result),
                "b": asdict(other),
            }
        )
    return {
        "by": "decisions",
        "sessions": len(first.keys() | second.keys()),
        "differ": len(sessions),
        "changes": dict(sorted(changes.items())),
        "a": _steps(first.values()),
        "b": _steps(second.values()),
        "differences": sessions,
    }


def _steps(results: Iterable[SessionResult]) -> dict[str, int]:
    found = Counter(result.step for result in results)
    return {step: found[step] for step in STEPS}


@dataclass(slots=True)
class Bands:
    """Counts the score bands that two models give the same vectors, and the highest bands of each session."""

    first: Detector
    second: Detector
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(BANDS) + 1, len(BANDS) + 1), np.int64))
    highest: dict[SessionKey, tuple[int, int]] = field(default_factory=dict)
    labels: dict[SessionKey, str] = field(default_factory=dict)

    def take(self, vectors: Vectors) -> None:
        """Count *vectors*."""
        bands = [model.band(vectors.scores(model)).astype(np.int64) for model in (self.first, self.second)]
        np.add.at(self.table, tuple(bands), 1)
        for key, label, a, b in zip(
            vectors.sessions, vectors.truth_label.tolist(), *(band.tolist() for band in bands), strict=True
        ):
            before = self.highest.get(key, (0, 0))
            self.highest[key] = max(a, before[0]), max(b, before[1])
            self.labels[key] = label or "unknown"

    def plain(self) -> dict[str, Any]:
        """Return the differences: a summary, then each session that differs."""
        differ = {key: bands for key, bands in sorted(self.highest.items()) if bands[0] != bands[1]}
        changes = Counter(f"{self.labels[key]}: band {a} → band {b}" for key, (a, b) in differ.items())
        return {
            "by": "score bands",
            "sessions": len(self.highest),
            "differ": len(differ),
            "changes": dict(sorted(changes.items())),
            "vectors": self.table.tolist(),
            "differences": [
                {"tenant": key[0], "session_id": key[1], "label": self.labels[key], "a": a, "b": b}
                for key, (a, b) in differ.items()
            ],
        }
