"""The policy: every number and choice a deployment may make about decisions, read from a validated TOML file.

A policy is a value. Its id is a hash of its content, and stands in every decision made under it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.detections import BIT, DETECTIONS, Limits, unknown_detection

FITTED: Final = "fitted.toml"
"""Beside this file; `python -m pipeline.offline.evaluation --fit` writes it."""
Mode = Literal["enforce", "observe"]
Act = Literal["allow", "step_up", "revoke"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Share = Annotated[Number, Field(gt=0, le=1)]
Seconds = Annotated[Number, Field(ge=0, le=10 * 366 * 86_400)]
Flag = Annotated[bool, Field(strict=True)]


class BadPolicy(ValueError):
    """A policy file that cannot be used; the message says where and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Levels(_Part):
    """Scores (0-100) at which a level is raised and cleared, and how long one is kept at least."""

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


class Actions(_Part):
    """What a level means for one kind of principal; who cannot be asked for a factor is only reported."""

    medium: Act
    high: Act = "revoke"


class GuardRules(_Part):
    """Bounds on revoking many at once; above them revocations are held, stepped up and alerted.

    With *ask_unheard* a person is asked for a factor before a session is revoked for its device's silence
    alone, where no device of the tenant is heard, or *silent_fleet_least* in use fell silent together.
    """

    revocations_per_minute: Count = 600
    silent_fleet_share: Share = 0.2
    silent_fleet_least: Count = 3
    silent_intervals: Annotated[Number, Field(gt=0)] = 1.5
    ask_unheard: Flag = True


class Times(_Part):
    """Deadlines and life times in seconds of event time."""

    step_up_s: Seconds = 300.0
    rollout_s: Seconds = 300.0
    ack_s: Annotated[Seconds, Field(ge=1)] = 60.0
    repeat_s: Seconds = 900.0
    idle_s: Seconds = 12 * 3600.0
    ended_grace_s: Seconds = 600.0
    revoked_grace_s: Seconds = 24 * 3600.0
    muted_s: Seconds = 24 * 3600.0


class Feedback(_Part):
    """Whose verdict of *false positive* keeps a detection quiet, by how `reported_by` begins.

    For ``times.muted_s`` at most. Nobody's word keeps quiet what speaks against themselves.
    """

    mute_prefixes: tuple[str, ...] = ("",)

    def may_mute(self, reporter: str, principal: str) -> bool:
        """Whether *reporter* may, for sessions of *principal*."""
        return reporter != principal and reporter.startswith(self.mute_prefixes)


class RuleChange(_Part):
    """What a policy changes of one detection."""

    enabled: Flag = True
    weight: Number | None = None
    limits: Mapping[str, Number] = {}


class Suppression(_Part):
    """Keep a known false positive quiet for somebody, until a date, in somebody's name."""

    detections: Annotated[list[str], Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1, max_length=200)]
    expires_at: Annotated[int, Field(strict=True, description="milliseconds since the epoch, UTC")]
    tenant: str | None = None
    principal_id: str | None = None
    session_id: str | None = None
    device_id: str | None = None

    def covers(self, subject: Mapping[str, str], at: int) -> bool:
        """Whether it speaks of this session (``tenant``, ``principal_id``, ...) at *at*, in ms."""
        scope = {name: getattr(self, name) for name in ("tenant", "principal_id", "session_id", "device_id")}
        return at < self.expires_at and all(v is None or v == subject[name] for name, v in scope.items())


class Policy(_Part):
    """Everything a decision depends on besides state, events and model."""

    name: Annotated[str, Field(min_length=1, max_length=64)] = "default"
    mode: Mode = "enforce"
    prior: Number = -4.0
    anomaly_weights: tuple[Number, Number, Number] = (0.5, 0.9, 1.2)
    trust_strong_auth: Annotated[Number, Field(le=0)] = -0.5
    trust_strong_auth_s: Seconds = 600.0
    levels: Levels = Levels()
    human: Actions = Actions(medium="step_up")
    service: Actions = Actions(medium="allow")
    api_key: Actions = Actions(medium="allow")
    agent: Actions = Actions(medium="allow")
    guard: GuardRules = GuardRules()
    times: Times = Times()
    feedback: Feedback = Feedback()
    low_features_share: Annotated[Number, Field(ge=0, le=1)] = 0.002
    rules: Mapping[str, RuleChange] = {}
    suppressions: tuple[Suppression, ...] = ()

    @model_validator(mode="after")
    def _known_rules(self) -> Policy:
        named = set(self.rules) | {d for s in self.suppressions for d in s.detections}
        if strange := sorted(named - set(BIT)):
            raise ValueError(unknown_detection(strange[0]))
        for rule_id, change in self.rules.items():
            known = DETECTIONS[BIT[rule_id]].limits
            if strange := sorted(set(change.limits) - set(known)):
                raise ValueError(f"{rule_id} has no limit {strange[0]!r}; it has {', '.join(known) or 'none'}")
        return self

    @property
    def id(self) -> str:
        """``name@hash``: the same for the same content, whatever the order in the file."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{self.name}@{blake2b(content.encode(), digest_size=4).hexdigest()}"

    def limits(self) -> tuple[Limits, ...]:
        """The limits of every detection, in the order of the table."""
        return tuple(
            {**rule.limits, **self.rules[rule.id].limits} if rule.id in self.rules else rule.limits
            for rule in DETECTIONS
        )

    def weights(self) -> tuple[float, ...]:
        """The log-odds of every detection; 0 for those switched off."""
        return tuple(self._weight(rule.id, rule.weight) for rule in DETECTIONS)

    def _weight(self, rule_id: str, weight: float) -> float:
        change = self.rules.get(rule_id)
        if change is None:
            return weight
        if not change.enabled:
            return 0.0
        return weight if change.weight is None else change.weight

    def action(self, kind: str, level: str) -> Act:
        """What *level* means for a principal of *kind* (an unknown kind is treated as a human)."""
        actions: Actions = getattr(self, kind or "human")
        acts: dict[str, Act] = {"LOW": "allow", "MEDIUM": actions.medium, "HIGH": actions.high}
        return acts[level]


def parse_policy(text: str, where: str = "policy", under: Mapping[str, Any] | None = None) -> Policy:
    """A policy from TOML; what it leaves open is as in *under*, else as built in.

    Raises:
        BadPolicy: the text is no TOML, or a value in it is not allowed.
    """
    try:
        return Policy.model_validate(_over(under or {}, tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise BadPolicy(f"{where}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BadPolicy(f"{where}: {place}: {first['msg'].removeprefix('Value error, ')}") from error


def _over(under: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """*told*, and what of *under* it does not tell, table by table."""
    both = dict(under)
    for name, value in fields.items():
        held = both.get(name)
        both[name] = _over(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return both


def fitted() -> dict[str, Any]:
    """What was learned from labelled recordings: prior, weights and thresholds, as a policy file has them."""
    return tomllib.loads(files("pipeline.decisions").joinpath(FITTED).read_text("utf-8"))


def read_policy(path: Path | None) -> Policy:
    """The policy in *path*, or the default one; what it leaves open is as fitted (:data:`FITTED`).

    Raises:
        BadPolicy: the file is missing, empty, cut or cannot be used. Of a file that was cut every line may be
            good: `prior = -5.84` without its last digits is another prior.
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
        raise BadPolicy(f"{path}: ends in the middle of a line, as if its end were missing; end it with a new line")
    return parse_policy(text, str(path), fitted())
