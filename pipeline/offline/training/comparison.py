"""Two models on the same data: what would have become of each session, and where that differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from models.detectors.base import BANDS, Detector
from pipeline.decisions.risk import LEVELS
from pipeline.offline.replay.labels import SessionKey, Truths
from pipeline.offline.training.vectors import Vectors
from pipeline.processing.processor import Message
from schemas.topics import SESSION_CHALLENGES, SESSION_REVOCATIONS, SESSION_RISK

STEPS: Final = ("nothing", "noticed", "step_up", "revoke")
"""What may become of a session, the harmless first: *noticed* is a level above LOW without a command."""


@dataclass(slots=True)
class Fate:
    """What became of a session: its highest level and score, what was done, and what counted there."""

    level: str = LEVELS[0]
    score: float = 0.0
    challenged: bool = False
    revoked: bool = False
    reasons: list[str] = field(default_factory=list)

    @property
    def step(self) -> str:
        """Return the gravest of `STEPS` that was taken."""
        if self.revoked:
            return "revoke"
        if self.challenged:
            return "step_up"
        return STEPS[0] if self.level == LEVELS[0] else "noticed"


@dataclass(slots=True)
class Fates:
    """Takes every message of a replay; keeps one `Fate` for each session of which anything was said."""

    by_session: dict[SessionKey, Fate] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Note *message*, if it is a decision or a command."""
        if message.topic not in (SESSION_RISK, SESSION_REVOCATIONS, SESSION_CHALLENGES):
            return
        details = from_json(message.value)
        fate = self.by_session.setdefault((details["tenant"], details["session_id"]), Fate())
        if message.topic == SESSION_RISK:
            if details["score"] > fate.score:
                counted = [reason for reason in details["reasons"] if reason["contribution"] > 0]
                fate.score, fate.reasons = details["score"], [reason["detection"] for reason in counted]
            fate.level = max(fate.level, details["level"], key=LEVELS.index)
        elif message.topic == SESSION_REVOCATIONS:
            fate.revoked = True
        else:
            fate.challenged = True


def of_fates(first: Mapping[SessionKey, Fate], second: Mapping[SessionKey, Fate], truths: Truths) -> dict[str, Any]:
    """Return what differs between two replays, session by session, with a summary before it."""
    changes: Counter[str] = Counter()
    sessions = []
    for key in sorted(first.keys() | second.keys()):
        fate, other = first.get(key, Fate()), second.get(key, Fate())
        if (fate.level, fate.step) == (other.level, other.step):
            continue
        truth = truths.of(key)
        change = f"{fate.step} → {other.step}" if fate.step != other.step else f"{fate.level} → {other.level}"
        label = truth.label if truth else "unknown"
        changes[f"{label}: {change}"] += 1
        sessions.append(
            {
                "tenant": key[0],
                "session_id": key[1],
                "label": label,
                "family": truth.family if truth else None,
                "change": change,
                "a": asdict(fate),
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


def _steps(fates: Iterable[Fate]) -> dict[str, int]:
    found = Counter(fate.step for fate in fates)
    return {step: found[step] for step in STEPS}


@dataclass(slots=True)
class Bands:
    """Counts in which band two models put the same vectors, and the highest of each session."""

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
            was = self.highest.get(key, (0, 0))
            self.highest[key] = max(a, was[0]), max(b, was[1])
            self.labels[key] = label or "unknown"

    def plain(self) -> dict[str, Any]:
        """Return what differs, session by session, with a summary before it."""
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
