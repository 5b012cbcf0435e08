"""Real recordings that nobody here made: which attack techniques raise which detection, and what else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pydantic_core import from_json

from pipeline.brain import Brain
from pipeline.convert import convert, save
from pipeline.evaluation.outcome import Met, Spared
from pipeline.evaluation.play import Model, play
from pipeline.evaluation.switches import switched
from pipeline.kinds import stage_kinds
from pipeline.policy import Policy
from pipeline.recording import read
from pipeline.replay import Replay
from pipeline.risk import LEVELS
from pipeline.scorer import Options
from schemas.topics import SESSION_RISK

SWITCHES: Final = 20


@dataclass(frozen=True, slots=True)
class Raised:
    """What one recording raised: the highest level of any session, and the detections that had a part."""

    name: str
    sessions: int
    level: str
    detections: tuple[str, ...]


def raised(name: str, logs: Iterable[Path], policy: Policy, model: Model) -> Raised:
    """Convert and replay CloudTrail *logs*; nothing is commanded, so that all detections are seen."""
    with TemporaryDirectory() as folder:
        conversion = convert(logs)
        save(conversion, Path(folder) / "recording")
        brain = Brain(detector=model.detector, roles=model.roles)
        brain.use_policy(policy.model_copy(update={"mode": "observe"}))
        stages = Replay(stage_kinds(brain, Options(event_clock=True)))
        level, found, sessions = 0, dict[str, None](), set[str]()
        for message in stages.run(read(Path(folder) / "recording")):
            if message.topic == SESSION_RISK:
                told = from_json(message.value)
                sessions.add(told["session_id"])
                level = max(level, LEVELS.index(told["level"]))
                found |= dict.fromkeys(one["detection"] for one in told["reasons"] if one["contribution"] > 0)
    return Raised(name, len(sessions), LEVELS[level], tuple(found))


def techniques(folder: Path, policy: Policy, model: Model) -> list[Raised]:
    """Each Stratus technique recorded below *folder*, one by one."""
    return [raised(path.name.removesuffix(".json"), [path], policy, model) for path in _logs(folder)]


def _logs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.is_file())


def takeovers(folder: Path, policy: Policy, model: Model) -> tuple[int, Met, Spared]:
    """Identity switches injected into the recordings below *folder*: how many copies, what they met."""
    met, spared, copies = [], [], 0
    with TemporaryDirectory() as scratch:
        recording = Path(scratch) / "recording"
        save(convert(_logs(folder)), recording)
        for copy in switched(recording, Path(scratch), SWITCHES, seed=7):
            outcomes = play(copy, policy, model).outcomes
            met.append(outcomes.met())
            spared.append(outcomes.spared())
            copies += 1
    return copies, _all_met(met), _all_spared(spared)


def _all_met(parts: list[Met]) -> Met:
    delays = sorted(part.delay_s for part in parts if part.delay_s is not None)
    middle = delays[len(delays) // 2] if delays else None
    late = delays[int(len(delays) * 0.9)] if delays else None
    return Met(
        sum(part.sessions for part in parts), sum(part.intervened for part in parts),
        sum(part.revoked for part in parts), middle, late,
    )  # fmt: skip


def _all_spared(parts: list[Spared]) -> Spared:
    return Spared(
        sum(part.sessions for part in parts), sum(part.hours for part in parts),
        sum(part.revoked for part in parts), sum(part.challenged for part in parts),
    )  # fmt: skip
