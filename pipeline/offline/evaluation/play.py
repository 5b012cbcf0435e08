"""Replay of a labelled recording with one variant of policy, model and topics."""

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
from pipeline.offline.evaluation.evidence import Evidence
from pipeline.offline.evaluation.outcome import Outcomes
from pipeline.offline.replay.answers import Answers
from pipeline.offline.replay.recording import InputRecord, read, read_truth
from pipeline.offline.replay.runner import Replay
from pipeline.sessions.processor import Options
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant: with or without detections, the model, or one topic."""

    name: str
    detections: bool = True
    model: bool = True
    without: str = ""

    def policy(self, policy: Policy) -> Policy:
        """*policy*, with every detection of behaviour disabled if this variant has no detections.

        A missed step-up still counts: it is the result of a challenge.
        """
        if self.detections:
            return policy
        off = DetectionOverride(enabled=False)
        disabled = {detection.id: off for detection in DETECTIONS if detection.holds is not None or detection.signal}
        return policy.model_copy(update={"detections": {**policy.detections, **disabled}})


FULL = Variant("everything")
BY_HALVES = (FULL, Variant("detections only", model=False), Variant("model only", detections=False))
"""Variants that show whether detections and model together are better than either; run on all worlds."""
BY_TOPIC = (
    FULL,
    *(Variant(f"without {topic}", without=topic) for topic in (DEVICE_TELEMETRY, API_CALLS, AUTH_EVENTS)),
)
"""Variants that show the value of each topic: each leaves one out."""


class Model(NamedTuple):
    """A detector, and the roles that it was fitted with."""

    detector: Detector
    roles: Roles | None = None


def play(recording: Path, policy: Policy, model: Model, variant: Variant = FULL) -> Evidence:
    """Replay *recording*, with answers of honest users to challenges; the results are in ``.outcomes``."""
    outcomes = Outcomes.against(read_truth(recording))
    evidence = Evidence(outcomes)
    detector = model.detector if variant.model else NoDetector()
    active = ActiveConfig(detector=detector, roles=model.roles)
    active.use_policy(variant.policy(policy))
    replay = Replay(
        processor_specs(active, Options(event_clock=True, changelog=False, onlooker=evidence.look)),
        answers=Answers(outcomes.honest),
    )
    for message in replay.run(_without(variant.without, read(recording))):
        outcomes.observe(message)
    return evidence


def _without(topic: str, records: Iterable[InputRecord]) -> Iterator[InputRecord]:
    return (record for record in records if record.topic != topic)
