"""A labelled recording played through all stages under one variant of what decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.detectors.base import Detector, NoDetector
from models.roles.roles import Roles
from pipeline.assembly import processor_specs
from pipeline.control.active import ActiveConfig
from pipeline.decisions.policy import DetectionOverride, Policy
from pipeline.detections import DETECTIONS
from pipeline.offline.evaluation.answers import Answers
from pipeline.offline.evaluation.evidence import Evidence
from pipeline.offline.evaluation.outcome import Outcomes
from pipeline.offline.replay.recording import InputRecord, read, read_truth
from pipeline.offline.replay.runner import Replay
from pipeline.sessions.processor import Options
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY


@dataclass(frozen=True, slots=True)
class Variant:
    """What decides: with or without the detections, with or without the model, with or without a topic."""

    name: str
    detections: bool = True
    model: bool = True
    without: str = ""

    def policy(self, policy: Policy) -> Policy:
        """*policy* with every detection that asks about a session switched off, if this variant has none.

        A missed step-up still counts: it says what became of a challenge, not what was seen.
        """
        if self.detections:
            return policy
        off = DetectionOverride(enabled=False)
        asking = {rule.id: off for rule in DETECTIONS if rule.holds is not None or rule.signal}
        return policy.model_copy(update={"detections": {**policy.detections, **asking}})


FULL = Variant("everything")
BY_HALVES = (FULL, Variant("detections only", model=False), Variant("model only", detections=False))
"""Whether both together are better than either: compared on all worlds."""
BY_TOPIC = (
    FULL,
    *(Variant(f"without {topic}", without=topic) for topic in (DEVICE_TELEMETRY, API_CALLS, AUTH_EVENTS)),
)
"""What each topic is worth: each variant leaves one out."""


class Model(NamedTuple):
    """What scores: a detector, and the roles that it was fitted with."""

    detector: Detector
    roles: Roles | None = None


def play(recording: Path, policy: Policy, model: Model, variant: Variant = FULL) -> Evidence:
    """Play *recording*; honest users answer challenges. What became of its sessions is in ``.outcomes``."""
    outcomes = Outcomes.against(read_truth(recording))
    evidence = Evidence(outcomes)
    detector = model.detector if variant.model else NoDetector()
    brain = ActiveConfig(detector=detector, roles=model.roles)
    brain.use_policy(variant.policy(policy))
    stages = Replay(processor_specs(brain, Options(event_clock=True, onlooker=evidence.look)))
    answers = Answers(outcomes.honest)
    for message in stages.run(answers.among(_but(variant.without, read(recording)))):
        outcomes.hear(message)
        answers.hear(message)
    return evidence


def _but(topic: str, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
    return (record for record in records if record.topic != topic)
