"""Decision log: a decision read back together with its commands, findings and acknowledgements.

The records come from the output of a replay or from Kafka; the caller provides a :data:`Source`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from pipeline.decisions.policy import Policy
from pipeline.decisions.risk import score
from pipeline.offline.replay.recording import RecordingError
from schemas.topics import (
    DEAD_LETTERS,
    REVOCATION_ACKS,
    SESSION_CHALLENGES,
    SESSION_FEATURES,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_RISK,
    SESSION_SHADOW,
    SUPPRESSIONS,
)

OUTPUT_TOPICS: Final = (
    SESSION_RISK,
    SESSION_FINDINGS,
    SESSION_REVOCATIONS,
    SESSION_CHALLENGES,
    SESSION_FEATURES,
    SESSION_SHADOW,
    SUPPRESSIONS,
    DEAD_LETTERS,
)
"""The topics that a replay writes, one file each if there are records."""

Plain = dict[str, Any]
Source = Callable[[str, str], Iterable[bytes]]
"""(topic, text) → the values of that topic that contain the text, oldest first."""


class UnknownDecisionError(LookupError):
    """The source has no such decision."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Account:
    """One decision and what followed: commands, the enforcer's acknowledgements, findings that refer to it."""

    decision: Plain
    revocation: Plain | None
    challenge: Plain | None
    acks: list[Plain]
    findings: list[Plain]

    @property
    def evidence(self) -> list[str]:
        """Event ids of all reasons, without duplicates, and of the event that caused the decision."""
        named = [event for reason in self.decision["reasons"] for event in reason.get("evidence") or ()]
        return list(dict.fromkeys([*named, *filter(None, [self.decision.get("caused_by")])]))


def account(decision_id: str, source: Source) -> Account:
    """Return a decision with everything that belongs to it.

    Raises:
        UnknownDecisionError: *source* has no decision of this id.
    """
    decisions = _with(source(SESSION_RISK, decision_id), "decision_id", decision_id)
    decision = next(decisions, None)
    if decision is None:
        raise UnknownDecisionError(f"there is no decision {decision_id} on {SESSION_RISK}")
    revocation = next(_with(source(SESSION_REVOCATIONS, decision_id), "decision_id", decision_id), None)
    challenge = next(_with(source(SESSION_CHALLENGES, decision_id), "decision_id", decision_id), None)
    acks: list[Plain] = []
    if revocation is not None:
        command = revocation["revocation_id"]
        acks += _with(source(REVOCATION_ACKS, command), "revocation_id", command)
    findings = [
        finding
        for finding in map(from_json, source(SESSION_FINDINGS, decision_id))
        if finding["metadata"].get("correlation_uid") == decision_id
    ]
    return Account(decision, revocation, challenge, acks, findings)


def in_directory(directory: Path) -> Source:
    """Return a source that reads the output of a replay.

    Raises:
        RecordingError: *directory* has no output of a replay.
    """
    if not (directory / f"{SESSION_RISK}.jsonl").is_file():
        raise RecordingError(f"{directory} has no {SESSION_RISK}.jsonl: give the output folder of `replay --out`")

    def values(topic: str, text: str) -> Iterator[bytes]:
        path = directory / f"{topic}.jsonl"
        if path.is_file():
            with path.open("rb") as file:
                yield from (line for line in file if text.encode() in line)

    return values


def prior_of(decision: Plain, policies: Iterable[Policy]) -> float | None:
    """Return the prior of the score in log-odds: that of the policy that decided, if it is among *policies*.

    Else it is computed from the score, which has one decimal, so this works only if the score is not near 0 or 100.
    None if the prior cannot be found.
    """
    for policy in policies:
        for mode in ("enforce", "observe"):
            if policy.model_copy(update={"mode": mode}).id == decision["policy"]:
                return policy.prior
    if not 1 <= decision["score"] <= 99:
        return None
    share = decision["score"] / 100
    prior = round(math.log(share / (1 - share)) - total_of(decision), 2)
    return prior if score(prior + total_of(decision)) == decision["score"] else None


def total_of(decision: Plain) -> float:
    """Return the sum of all contributions in log-odds."""
    return math.fsum(reason["contribution"] for reason in decision["reasons"])


def _with(values: Iterable[bytes], field: str, value: str) -> Iterator[Plain]:
    return (record for record in map(from_json, values) if record.get(field) == value)
