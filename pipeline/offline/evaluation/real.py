"""Real recordings that nobody here made: which attack techniques raise which detection, and what else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from pydantic_core import from_json

from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import LEVELS
from pipeline.offline.evaluation.outcome import Met, Outcomes, Spared
from pipeline.offline.evaluation.play import Model, play
from pipeline.offline.evaluation.switches import DETONATED, FAMILY, Maker, made_by, switched
from pipeline.offline.replay.recording import read, write_conversion
from pipeline.offline.replay.runner import Replay
from pipeline.sessions.processor import Options
from pipeline.sources import Conversion
from pipeline.sources.cloudtrail import convert
from pipeline.sources.ground_truth import Truth
from schemas.topics import SESSION_RISK

SWITCHES: Final = 20
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Raised:
    """What one recording raised: the highest level of any session, and the detections that had a part.

    *begun* says of each detection how often it began to hold after an event of whom.
    """

    name: str
    sessions: int
    level: str
    detections: tuple[str, ...]
    begun: Mapping[tuple[str, Maker], int]


@dataclass(frozen=True, slots=True)
class Takeovers:
    """Sessions of a lab that change hands, in *copies* of it, one exchange each.

    *switched* are those; *detonated* those in which the lab itself runs an attack; *spared* all others.
    """

    copies: int
    switched: Met
    detonated: Met
    spared: Spared


def raised(name: str, logs: Iterable[Path], policy: Policy, model: Model, *, detonations: bool = True) -> Raised:
    """Convert and replay CloudTrail *logs*; nothing is commanded, so that all detections are seen.

    Without *detonations*, their events are left out: what is raised then is a false alarm.
    """
    conversion = convert(logs)
    if not detonations:
        conversion = _without_detonations(conversion)
    makers = {
        this_event["event_id"]: made_by(this_event) for events in conversion.events.values() for this_event in events
    }
    level, found, sessions, began = 0, dict[str, None](), set[str](), set[tuple[str, str, str]]()
    for event in _decisions(conversion, policy, model):
        sessions.add(event["session_id"])
        level = max(level, LEVELS.index(event["level"]))
        counted = [item for item in event["reasons"] if item["contribution"] > 0]
        found |= dict.fromkeys(item["detection"] for item in counted)
        shown = [item for item in counted if item.get("evidence")]
        began |= {(event["session_id"], item["detection"], item["evidence"][0]) for item in shown}
    begun = Counter((detection, makers[first]) for _, detection, first in began if first in makers)
    return Raised(name, len(sessions), LEVELS[level], tuple(found), dict(sorted(begun.items())))


def _without_detonations(conversion: Conversion) -> Conversion:
    left = {
        topic: [event for event in events if made_by(event) != "detonation"]
        for topic, events in conversion.events.items()
    }
    return replace(conversion, events=left)


def _decisions(conversion: Conversion, policy: Policy, model: Model) -> Iterator[Event]:
    with TemporaryDirectory() as folder:
        write_conversion(conversion, Path(folder) / "recording")
        brain = ActiveConfig(detector=model.detector, roles=model.roles)
        brain.use_policy(policy.model_copy(update={"mode": "observe"}))
        stages = Replay(processor_specs(brain, Options(event_clock=True)))
        for message in stages.run(read(Path(folder) / "recording")):
            if message.topic == SESSION_RISK:
                yield from_json(message.value)


def techniques(folder: Path, policy: Policy, model: Model) -> list[Raised]:
    """Each Stratus technique recorded below *folder*, one by one."""
    return [raised(path.name.removesuffix(".json"), [path], policy, model) for path in _logs(folder)]


def _logs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.is_file())


def takeovers(folder: Path, policy: Policy, model: Model, *, keep_client: bool = False) -> Takeovers:
    """Identity switches injected into the recordings below *folder*, and what came of all sessions.

    *keep_client*: whoever takes over comes from the victim's address with the victim's client.
    """
    with TemporaryDirectory() as scratch:
        recording = Path(scratch) / "recording"
        write_conversion(convert(_logs(folder)), recording)
        copies = switched(recording, Path(scratch), SWITCHES, seed=7, keep_client=keep_client)
        played = [play(copy, policy, model).outcomes for copy in copies]
    return Takeovers(
        len(played),
        _met(played, FAMILY),
        _met(played, DETONATED),
        _all_spared([outcomes.spared() for outcomes in played]),
    )


def _met(played: Sequence[Outcomes], family: str) -> Met:
    def fits(row: Truth) -> bool:
        return row.family == family

    parts = [outcomes.met(fits) for outcomes in played]
    delays = sorted(delay for outcomes in played for delay in outcomes.delays(fits))
    middle = delays[len(delays) // 2] if delays else None
    late = delays[int(len(delays) * 0.9)] if delays else None
    return Met(
        sum(part.sessions for part in parts),
        sum(part.intervened for part in parts),
        sum(part.revoked for part in parts),
        middle,
        late,
    )


def _all_spared(parts: list[Spared]) -> Spared:
    return Spared(
        sum(part.sessions for part in parts),
        sum(part.hours for part in parts),
        sum(part.revoked for part in parts),
        sum(part.challenged for part in parts),
    )
