"""Evaluation on public recordings: which detections find which attack techniques, and false positives."""

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
from pipeline.offline.evaluation.outcome import AttackResults, HonestCosts, Outcomes
from pipeline.offline.evaluation.play import Model, play
from pipeline.offline.evaluation.switches import DETONATED, FAMILY, Origin, origin_of, switched
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
class Detected:
    """Result of one recording: the highest level of any session, and the contributing detections.

    *begun* counts, per detection and origin, the events after which the detection began to hold.
    """

    name: str
    sessions: int
    level: str
    detections: tuple[str, ...]
    begun: Mapping[tuple[str, Origin], int]


@dataclass(frozen=True, slots=True)
class Takeovers:
    """Result of takeovers in *copies* of a lab's recording, one exchange of sessions each.

    *switched* are the sessions taken over, *detonated* those in which the lab itself runs an attack, *spared* the
    others.
    """

    copies: int
    switched: AttackResults
    detonated: AttackResults
    spared: HonestCosts


def detected_in(name: str, logs: Iterable[Path], policy: Policy, model: Model, *, detonations: bool = True) -> Detected:
    """Convert and replay CloudTrail *logs* without commands, so that all detections are seen.

    Without *detonations*, their events are left out, so that every detection is a false positive.
    """
    conversion = convert(logs)
    if not detonations:
        conversion = _without_detonations(conversion)
    origins = {event["event_id"]: origin_of(event) for events in conversion.events.values() for event in events}
    level, found, sessions, began = 0, dict[str, None](), set[str](), set[tuple[str, str, str]]()
    for event in _decisions(conversion, policy, model):
        sessions.add(event["session_id"])
        level = max(level, LEVELS.index(event["level"]))
        reasons = [reason for reason in event["reasons"] if reason["contribution"] > 0]
        found |= dict.fromkeys(reason["detection"] for reason in reasons)
        with_evidence = [reason for reason in reasons if reason.get("evidence")]
        began |= {(event["session_id"], reason["detection"], reason["evidence"][0]) for reason in with_evidence}
    begun = Counter((detection, origins[first]) for _, detection, first in began if first in origins)
    return Detected(name, len(sessions), LEVELS[level], tuple(found), dict(sorted(begun.items())))


def _without_detonations(conversion: Conversion) -> Conversion:
    left = {
        topic: [event for event in events if origin_of(event) != "detonation"]
        for topic, events in conversion.events.items()
    }
    return replace(conversion, events=left)


def _decisions(conversion: Conversion, policy: Policy, model: Model) -> Iterator[Event]:
    with TemporaryDirectory() as folder:
        write_conversion(conversion, Path(folder) / "recording")
        active = ActiveConfig(detector=model.detector, roles=model.roles)
        active.use_policy(policy.model_copy(update={"mode": "observe"}))
        replay = Replay(processor_specs(active, Options(event_clock=True, changelog=False)))
        for message in replay.run(read(Path(folder) / "recording")):
            if message.topic == SESSION_RISK:
                yield from_json(message.value)


def techniques(folder: Path, policy: Policy, model: Model) -> list[Detected]:
    """Results of each Stratus technique recorded in *folder*."""
    return [detected_in(path.name.removesuffix(".json"), [path], policy, model) for path in _logs(folder)]


def _logs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.is_file())


def takeovers(folder: Path, policy: Policy, model: Model, *, keep_client: bool = False) -> Takeovers:
    """Inject identity switches into the recordings in *folder*, and return the results of all sessions.

    *keep_client*: the intruder has the victim's address and client.
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
        _all_spared([outcomes.honest_costs() for outcomes in played]),
    )


def _met(played: Sequence[Outcomes], family: str) -> AttackResults:
    def fits(row: Truth) -> bool:
        return row.family == family

    parts = [outcomes.attack_results(fits) for outcomes in played]
    delays = sorted(delay for outcomes in played for delay in outcomes.delays(fits))
    middle = delays[len(delays) // 2] if delays else None
    late = delays[int(len(delays) * 0.9)] if delays else None
    return AttackResults(
        sum(part.sessions for part in parts),
        sum(part.intervened for part in parts),
        sum(part.revoked for part in parts),
        middle,
        late,
    )


def _all_spared(parts: list[HonestCosts]) -> HonestCosts:
    return HonestCosts(
        sum(part.sessions for part in parts),
        sum(part.hours for part in parts),
        sum(part.revoked for part in parts),
        sum(part.challenged for part in parts),
    )
