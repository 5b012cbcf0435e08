"""The policy: every number and choice about decisions that a deployment may set, read from a validated TOML file.

A policy is a value. Its id contains a hash of its content and is part of every decision made under it.
"""

from __future__ import annotations

import json
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.detectors.base import BANDS, FORMER_BANDS
from models.state.table import Subject
from pipeline.detections import BIT, DETECTIONS, Limits, unknown_detection

FITTED: Final = "fitted.toml"
"""Beside this file; `python -m pipeline.offline.evaluation --fit` writes it."""
Mode = Literal["enforce", "observe"]
Action = Literal["allow", "step_up", "hold_for_approval", "revoke"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[Number, Field(gt=0, le=1)]
Seconds = Annotated[Number, Field(ge=0, le=10 * 366 * 86_400)]
Flag = Annotated[bool, Field(strict=True)]


class BadPolicy(ValueError):
    """A policy file that cannot be used; the message says where and why."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Levels(_Table):
    """Scores (0 to 100) at which a level is raised and cleared, and for how many seconds it is held at least."""

    medium_raise: Number = 40.0
    medium_clear: Number = 25.0
    high_raise: Number = 80.0
    high_clear: Number = 60.0
    dwell_s: Seconds = 60.0

    @model_validator(mode="after")
    def _in_order(self) -> Levels:
        if not 0 < self.medium_clear < self.medium_raise < self.high_raise <= 100:
            raise ValueError("needs 0 < medium_clear < medium_raise < high_raise <= 100")
        if not self.medium_raise <= self.high_clear < self.high_raise:
            raise ValueError("needs medium_raise <= high_clear < high_raise")
        return self


class Actions(_Table):
    """What a level means for one kind of principal, and what follows if nobody answers a challenge.

    *high_on_suspicion* is what HIGH means while the facts alone do not reach it
    (:attr:`pipeline.detections.detection.Detection.is_fact`). ``step_up`` asks the person for a factor;
    ``hold_for_approval`` asks whoever answers for a service, key or agent, and lets its session go on meanwhile.
    *unanswered*: ``revoke`` ends a session whose challenge was not answered in time, ``allow`` does not.
    """

    medium: Action = "hold_for_approval"
    high: Action = "revoke"
    high_on_suspicion: Action = "hold_for_approval"
    unanswered: Literal["allow", "revoke"] = "allow"


class AgentActions(Actions):
    """What a level means for an agent: its user is asked only where much speaks against it, and must answer."""

    medium: Action = "allow"
    unanswered: Literal["allow", "revoke"] = "revoke"


class PersonActions(Actions):
    """What a level means for a person, who can be asked for a factor."""

    medium: Action = "step_up"
    high_on_suspicion: Action = "step_up"
    unanswered: Literal["allow", "revoke"] = "revoke"


class GuardLimits(_Table):
    """Limits on revoking many sessions at once; above them revocations are held, and a step-up is requested instead.

    A tenant's fleet counts as silent when *silent_fleet_share* of its devices in use, and at least
    *silent_fleet_min_devices* in a partition, have sent no telemetry for *silent_intervals* heartbeat intervals. With
    *step_up_if_unverified* a person gets a step-up before a session is revoked for its device's silence alone, if no
    device of the tenant sends telemetry or *silent_fleet_min_devices* of those in use fell silent together.
    """

    revocations_per_minute: Count = 600
    silent_fleet_share: Share = 0.2
    silent_fleet_min_devices: Count = 3
    silent_intervals: Annotated[Number, Field(gt=0)] = 1.5
    step_up_if_unverified: Flag = True


class BudgetLimits(_Table):
    """How many step-ups of honest people suspicions may cost in each tenant (:mod:`pipeline.decisions.step_up_budget`).

    Attributes:
        step_ups_per_1000_hours: passed step-ups in 1,000 hours of people's sessions in use.
        raise_by: log-odds by which a passed step-up raises the threshold of suspicions in its tenant; 0: never.
        max_raise: the largest threshold, log-odds.
    """

    step_ups_per_1000_hours: Annotated[Number, Field(ge=0)] = 5.0
    raise_by: Annotated[Number, Field(ge=0)] = 1.0
    max_raise: Annotated[Number, Field(ge=0)] = 6.0


class Times(_Table):
    """Deadlines and lifetimes in seconds of event time.

    Attributes:
        step_up_s: until when a step-up must be passed.
        approval_s: until when an approval must be given.
        rollout_s: how long a posture that got worse waits for the rest of the fleet before it leads to a step-up.
        ack_s: until when an enforcer must acknowledge a revocation.
        repeat_s: when a decision that still stands is reported again; then after twice the time, and so on, to a day.
        idle_s: how long after its last event a session is forgotten.
        ended_grace_s: the same after its sign-out.
        revoked_grace_s: the same after its revocation.
        suppression_s: for how long a verdict of *false positive* suppresses a detection at most, and for how long an
            approval clears suspicions.
    """

    step_up_s: Seconds = 300.0
    approval_s: Seconds = 3600.0
    rollout_s: Seconds = 300.0
    ack_s: Annotated[Seconds, Field(ge=1)] = 60.0
    repeat_s: Seconds = 900.0
    idle_s: Seconds = 12 * 3600.0
    ended_grace_s: Seconds = 600.0
    revoked_grace_s: Seconds = 24 * 3600.0
    suppression_s: Seconds = 24 * 3600.0


class Feedback(_Table):
    """Whose verdict of *false positive* suppresses a detection: prefixes of the verdict's `reported_by`.

    It does so for ``times.suppression_s`` at most. Nobody can suppress detections of their own sessions.
    """

    suppressor_prefixes: tuple[str, ...] = ("",)

    def may_suppress(self, reporter: str, principal_id: str) -> bool:
        """Whether *reporter* may suppress detections of sessions of *principal_id*."""
        return reporter != principal_id and reporter.startswith(self.suppressor_prefixes)


class DetectionOverride(_Table):
    """What a policy changes about one detection."""

    enabled: Flag = True
    weight: Number | None = None
    limits: Mapping[str, Number] = {}


class Suppression(_Table):
    """A known false positive: the detections that do not count within a scope, until a date, and who answers for it."""

    detections: Annotated[list[str], Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    expires_at: Annotated[int, Field(strict=True, description="milliseconds since the epoch, UTC")]
    tenant: str | None = None
    principal_id: str | None = None
    session_id: str | None = None
    device_id: str | None = None

    def covers(self, subject: Subject, at_ms: int) -> bool:
        """Whether the session of *subject* is in its scope at *at_ms*."""
        scope = {name: getattr(self, name) for name in ("tenant", "principal_id", "session_id", "device_id")}
        matches = (value is None or value == getattr(subject, name) for name, value in scope.items())
        return at_ms < self.expires_at and all(matches)


def _of_every_band(weights: tuple[float, ...]) -> tuple[float, ...]:
    if len(weights) == len(FORMER_BANDS):
        return tuple(weights[bisect_right(FORMER_BANDS, band) - 1] for band in BANDS)
    if len(weights) != len(BANDS):
        raise ValueError(f"give {len(BANDS)} numbers, one for each band of the model's score")
    return weights


AnomalyWeights = Annotated[tuple[Number, ...], AfterValidator(_of_every_band)]


class Policy(_Table):
    """Everything that a decision depends on besides state, events and model.

    Attributes:
        name: the first part of the policy's id.
        mode: ``observe`` decides and reports, but sends no commands.
        prior: log-odds of a session with no evidence.
        anomaly_weights: log-odds of a model score in band 1, 2 … (:data:`models.detectors.base.BANDS`). Three numbers,
            as before there were six bands, are those above the quantiles 0.99, 0.999 and 0.9999.
        fresh_strong_auth_weight: log-odds of a factor proved within the last *fresh_strong_auth_s* seconds.
        low_features_share: the share of vectors scored LOW that are logged for retraining; those of MEDIUM and HIGH
            all are.
        detections: changes to single detections, by id.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    mode: Mode = "enforce"
    prior: Number = -4.0
    anomaly_weights: AnomalyWeights = (0.5, 0.5, 0.5, 0.9, 0.9, 1.2)
    fresh_strong_auth_weight: Annotated[Number, Field(le=0)] = -0.5
    fresh_strong_auth_s: Seconds = 600.0
    levels: Levels = Levels()
    human: PersonActions = PersonActions()
    service: Actions = Actions()
    api_key: Actions = Actions()
    agent: AgentActions = AgentActions()
    guard: GuardLimits = GuardLimits()
    budget: BudgetLimits = BudgetLimits()
    times: Times = Times()
    feedback: Feedback = Feedback()
    low_features_share: Annotated[Number, Field(ge=0, le=1)] = 0.002
    detections: Mapping[str, DetectionOverride] = {}
    suppressions: tuple[Suppression, ...] = ()

    @model_validator(mode="after")
    def _names_exist(self) -> Policy:
        suppressed = {detection for suppression in self.suppressions for detection in suppression.detections}
        if unknown := sorted((set(self.detections) | suppressed) - set(BIT)):
            raise ValueError(unknown_detection(unknown[0]))
        for detection_id, override in self.detections.items():
            limits = DETECTIONS[BIT[detection_id]].limits
            if unknown := sorted(set(override.limits) - set(limits)):
                raise ValueError(f"{detection_id} has no limit {unknown[0]!r}; it has {', '.join(limits) or 'none'}")
        return self

    @property
    def id(self) -> str:
        """``name@hash``: the same for the same content, whatever the order in the file."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.name}@{blake2b(content.encode(), digest_size=4).hexdigest()}"

    def limits(self) -> tuple[Limits, ...]:
        """The limits of every detection, in the order of :data:`pipeline.detections.DETECTIONS`."""
        unchanged = DetectionOverride()
        return tuple(
            {**detection.limits, **self.detections.get(detection.id, unchanged).limits} for detection in DETECTIONS
        )

    def weights(self) -> tuple[float, ...]:
        """The log-odds of every detection, in the same order; 0 for those that are not enabled."""
        return tuple(self._weight(detection.id, detection.weight) for detection in DETECTIONS)

    def _weight(self, detection_id: str, weight: float) -> float:
        override = self.detections.get(detection_id)
        if override is None:
            return weight
        if not override.enabled:
            return 0.0
        return weight if override.weight is None else override.weight

    def actions(self, principal_kind: str) -> Actions:
        """What levels mean for *principal_kind*; an unknown kind ("") is treated as a human."""
        actions: Actions = getattr(self, principal_kind or "human")
        return actions

    def action(self, principal_kind: str, level: str, *, on_suspicion: bool = False) -> Action:
        """What *level* means for *principal_kind*.

        *on_suspicion*: the facts alone do not reach the level.
        """
        actions = self.actions(principal_kind)
        high = actions.high_on_suspicion if on_suspicion else actions.high
        by_level: dict[str, Action] = {"LOW": "allow", "MEDIUM": actions.medium, "HIGH": high}
        return by_level[level]


def parse_policy(text: str, where: str = "policy", defaults: Mapping[str, Any] | None = None) -> Policy:
    """A policy from TOML; a key that *text* leaves out has its value in *defaults*, or else the built-in one.

    Raises:
        BadPolicy: the text is not TOML, or one of its keys or values is not allowed; the message starts with *where*.
    """
    try:
        return Policy.model_validate(_merged(defaults or {}, tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"{where}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        unknown_key = first["type"] == "extra_forbidden"
        why = "a policy has no such key" if unknown_key else first["msg"].removeprefix("Value error, ")
        raise BadPolicy(f"{where}: {key}: {why}") from error


def _merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* and those of *defaults* that they leave out, table by table."""
    merged = dict(defaults)
    for name, value in values.items():
        default = merged.get(name)
        if isinstance(default, dict) and isinstance(value, dict):
            merged[name] = _merged(default, value)
        else:
            merged[name] = value
    return merged


def fitted() -> dict[str, Any]:
    """What was learned from labelled recordings: prior, weights and thresholds, in the keys of a policy file."""
    return tomllib.loads(files("pipeline.decisions").joinpath(FITTED).read_text("utf-8"))


def read_policy(path: Path | None) -> Policy:
    """The policy in *path*, or the default one; keys that it leaves out are as fitted (:data:`FITTED`).

    Raises:
        BadPolicy: the file is missing, empty, cut off or cannot be used. Every line of a file that was cut off may
            still be valid: `prior = -5.84` without its last digits is another prior.
    """
    if path is None:
        shipped = files("pipeline.decisions").joinpath("policy.toml").read_text("utf-8")
        return parse_policy(shipped, "policy.toml", fitted())
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise BadPolicy(f"{path}: {error.strerror}; give a readable file in SESSION_RISK_POLICY_FILE") from error
    except UnicodeDecodeError as error:
        raise BadPolicy(f"{path}: not UTF-8 at byte {error.start}") from error
    if not text.strip():
        raise BadPolicy(f"{path}: empty; for the default policy leave SESSION_RISK_POLICY_FILE unset")
    if not text.endswith("\n"):
        raise BadPolicy(f"{path}: ends in the middle of a line, as if cut off; end it with a new line")
    return parse_policy(text, str(path), fitted())
