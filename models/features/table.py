"""What a model and a rule can see of a session: two tables, one row each for a fading sum and for a feature.

A feature's value is a function of the session's state after an event (:mod:`models.updates.fold`), in the unit
stated. To add one, add its row here, and its line of history → value to ``tests/models/test_features.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
View = Mapping[str, NDArray[Any]]
"""Arrays of shape ``(n,)`` by name: every sum of :data:`SUMS` and every fact the fold found."""

MINUTE: Final = 60_000.0
TEN_MINUTES: Final = 600_000.0
HOUR: Final = 3_600_000.0
HALF_LIVES: Final = (MINUTE, TEN_MINUTES, HOUR)
"""Milliseconds after which half of a sum is left."""


@dataclass(frozen=True, slots=True)
class DecayedCounter:
    """A fading sum: ``name``, what each event adds (a mark of the fold), and its half-life in ms."""

    name: str
    increment: str
    half_life: float


DECAYED_COUNTERS: Final[tuple[DecayedCounter, ...]] = (
    DecayedCounter(name="calls_1m", increment="call", half_life=MINUTE),
    DecayedCounter(name="calls_10m", increment="call", half_life=TEN_MINUTES),
    DecayedCounter(name="calls_1h", increment="call", half_life=HOUR),
    DecayedCounter(name="errors_10m", increment="error", half_life=TEN_MINUTES),
    DecayedCounter(name="denied_10m", increment="denied", half_life=TEN_MINUTES),
    DecayedCounter(name="bytes_out_10m", increment="bytes_out", half_life=TEN_MINUTES),
    DecayedCounter(name="bytes_out_1h", increment="bytes_out", half_life=HOUR),
    DecayedCounter(name="records_10m", increment="records", half_life=TEN_MINUTES),
    DecayedCounter(name="sensitive_records_10m", increment="sensitive_records", half_life=TEN_MINUTES),
    DecayedCounter(name="sensitive_records_1h", increment="sensitive_records", half_life=HOUR),
    DecayedCounter(name="sensitive_calls_10m", increment="sensitive_call", half_life=TEN_MINUTES),
    DecayedCounter(name="writes_10m", increment="write", half_life=TEN_MINUTES),
    DecayedCounter(name="new_operations_10m", increment="new_operation", half_life=TEN_MINUTES),
    DecayedCounter(name="new_addresses_1h", increment="new_address", half_life=HOUR),
    DecayedCounter(name="new_resources_10m", increment="new_resource", half_life=TEN_MINUTES),
    DecayedCounter(name="tool_calls_1m", increment="tool_call", half_life=MINUTE),
    DecayedCounter(name="new_tools_10m", increment="new_tool", half_life=TEN_MINUTES),
    DecayedCounter(name="network_changes_1h", increment="network_changed", half_life=HOUR),
    DecayedCounter(name="client_changes_1h", increment="client_changed", half_life=HOUR),
    DecayedCounter(name="token_changes_1h", increment="token_changed", half_life=HOUR),
    DecayedCounter(name="key_changes_1h", increment="key_changed", half_life=HOUR),
    DecayedCounter(name="auth_failures_10m", increment="auth_failed", half_life=TEN_MINUTES),
    DecayedCounter(name="mfa_denials_10m", increment="mfa_denied", half_life=TEN_MINUTES),
    DecayedCounter(name="credentials_created_10m", increment="created", half_life=TEN_MINUTES),
    DecayedCounter(name="rights_granted_10m", increment="granted", half_life=TEN_MINUTES),
    DecayedCounter(name="audit_blinded_10m", increment="blinded", half_life=TEN_MINUTES),
    DecayedCounter(name="credential_changes_1h", increment="credential_changed", half_life=HOUR),
    DecayedCounter(name="surprise_10m", increment="surprise", half_life=TEN_MINUTES),
    DecayedCounter(name="rare_transitions_10m", increment="rare", half_life=TEN_MINUTES),
    DecayedCounter(name="refused_10m", increment="refused_new", half_life=TEN_MINUTES),
)
COUNTER_NAMES: Final = tuple(decayed_counter.name for decayed_counter in DECAYED_COUNTERS)
INCREMENTS: Final = tuple(dict.fromkeys(decayed_counter.increment for decayed_counter in DECAYED_COUNTERS))
"""What an event may add to sums."""
INCREMENT: Final = {name: number for number, name in enumerate(INCREMENTS)}


@dataclass(frozen=True, slots=True)
class Feature:
    """One number a model sees.

    Attributes:
        name: ``<what>_<window>``; unique.
        unit: what a person would write behind the number.
        text: one line for analysts and data engineers.
        source: which topic it comes from.
        value: state after each event → ``(n,)`` values; always finite, and with scale ``log`` never negative.
        scale: how the model sees it: ``log`` is log(1 + value), for what grows by factors.
    """

    name: str
    unit: str
    text: str
    source: Literal["api-calls", "auth-events", "device-telemetry", "all"]
    value: Callable[[View], NDArray[Any]]
    scale: Literal["log", "plain"] = "log"


def _sum(name: str, unit: str, text: str, source: Literal["api-calls", "auth-events", "all"]) -> Feature:
    return Feature(name=name, unit=unit, text=text, source=source, value=lambda x: x[name])


def _ratio(part: str, whole: str) -> Callable[[View], Floats]:
    """*part* per *whole* with one imagined good call, so that a single failure is not 100 %."""
    return lambda x: x[part] / (x[whole] + 1.0)


def _minutes(name: str) -> Callable[[View], Floats]:
    return lambda x: x[name] / MINUTE


FEATURES: Final[tuple[Feature, ...]] = (
    _sum("calls_1m", "calls", "API calls, last minute", "api-calls"),
    _sum("calls_10m", "calls", "API calls, last ten minutes", "api-calls"),
    _sum("calls_1h", "calls", "API calls, last hour", "api-calls"),
    _sum("errors_10m", "calls", "calls answered with 4xx or 5xx", "api-calls"),
    _sum("denied_10m", "calls", "calls answered with 401 or 403", "api-calls"),
    Feature(
        name="error_ratio_10m",
        unit="of calls",
        text="share of calls that failed",
        source="api-calls",
        value=_ratio("errors_10m", "calls_10m"),
        scale="plain",
    ),
    Feature(
        name="denied_ratio_10m",
        unit="of calls",
        text="share of calls that were denied",
        source="api-calls",
        value=_ratio("denied_10m", "calls_10m"),
        scale="plain",
    ),
    _sum("bytes_out_10m", "bytes", "bytes sent to the client, last ten minutes", "api-calls"),
    _sum("bytes_out_1h", "bytes", "bytes sent to the client, last hour", "api-calls"),
    _sum("records_10m", "records", "records read or written, last ten minutes", "api-calls"),
    _sum("sensitive_records_10m", "records", "confidential or restricted, last ten minutes", "api-calls"),
    _sum("sensitive_records_1h", "records", "confidential or restricted, last hour", "api-calls"),
    _sum("sensitive_calls_10m", "calls", "calls on confidential or restricted data", "api-calls"),
    Feature(
        name="sensitive_ratio_10m",
        unit="of calls",
        text="share of calls on confidential or restricted data",
        source="api-calls",
        value=_ratio("sensitive_calls_10m", "calls_10m"),
        scale="plain",
    ),
    _sum("writes_10m", "calls", "calls that change something", "api-calls"),
    _sum("new_operations_10m", "operations", "operations not used in the last one to two hours", "api-calls"),
    _sum("new_addresses_1h", "addresses", "addresses not seen in the last one to two hours", "api-calls"),
    _sum("new_resources_10m", "resources", "resources not touched in the last one to two hours", "api-calls"),
    _sum("tool_calls_1m", "calls", "an agent's tool calls, last minute", "api-calls"),
    _sum("new_tools_10m", "tools", "tools first used after the session's first five minutes", "api-calls"),
    _sum("network_changes_1h", "changes", "changes of the client's network", "all"),
    _sum("client_changes_1h", "changes", "changes of the client's software or device", "all"),
    _sum("token_changes_1h", "changes", "changes of the token presented", "all"),
    _sum("key_changes_1h", "changes", "changes of the key that proves possession", "all"),
    _sum("auth_failures_10m", "failures", "failed sign-ins before this moment", "auth-events"),
    _sum("mfa_denials_10m", "denials", "prompts the user denied", "auth-events"),
    _sum("credentials_created_10m", "calls", "calls that create a credential", "api-calls"),
    _sum("rights_granted_10m", "calls", "calls that widen a right", "api-calls"),
    _sum("audit_blinded_10m", "calls", "calls that switch off audit", "api-calls"),
    _sum("credential_changes_1h", "changes", "credentials added, changed or removed", "auth-events"),
    _sum("refused_10m", "things", "different operations or resources refused or not found", "api-calls"),
    Feature(
        name="speed_kmh",
        unit="km/h",
        text="speed between this place and the last",
        source="all",
        value=lambda x: x["speed_kmh"],
    ),
    Feature(
        name="silence_in_use",
        unit="intervals",
        text="silence of the device while its session was used",
        source="device-telemetry",
        value=lambda x: x["silence_in_use"],
    ),
    Feature(
        name="attestation_age_m",
        unit="minutes",
        text="age of the newest attestation (0 without a device)",
        source="device-telemetry",
        value=_minutes("attestation_age"),
    ),
    Feature(
        name="posture_faults",
        unit="facts",
        text="posture facts that speak against the device",
        source="device-telemetry",
        value=lambda x: x["posture_faults"],
        scale="plain",
    ),
    Feature(
        name="unattested",
        unit="0 or 1",
        text="device bound, and its attestation missing, failed or virtual",
        source="device-telemetry",
        value=lambda x: x["unattested"],
        scale="plain",
    ),
    Feature(
        name="session_age_m",
        unit="minutes",
        text="since the session's first event",
        source="all",
        value=_minutes("session_age"),
    ),
    Feature(
        name="strong_auth_age_m",
        unit="minutes",
        text="since a factor was last proved",
        source="auth-events",
        value=_minutes("strong_age"),
    ),
    Feature(
        name="novelty",
        unit="0 to 1",
        text="share of client facts new to the principal",
        source="all",
        value=lambda x: x["novelty"],
        scale="plain",
    ),
    Feature(
        name="concurrent_sessions",
        unit="sessions",
        text="the principal's other live sessions",
        source="all",
        value=lambda x: x["concurrent"],
    ),
    Feature(
        name="surprise_10m",
        unit="nats",
        text="how far calls were less likely than the role expects",
        source="api-calls",
        value=lambda x: x["surprise_10m"],
        scale="plain",
    ),
    Feature(
        name="surprise_ratio_10m",
        unit="nats a call",
        text="the same for the mean of the calls",
        source="api-calls",
        value=_ratio("surprise_10m", "calls_10m"),
        scale="plain",
    ),
    _sum(
        "rare_transitions_10m",
        "calls",
        "calls rarer than 999 in 1,000 of the role's, last ten minutes",
        "api-calls",
    ),
)
FEATURE_NAMES: Final = tuple(feature.name for feature in FEATURES)
_LOG: Final = np.array([feature.scale == "log" for feature in FEATURES])


def matrix(view: View, count: int) -> Floats:
    """Every feature after every event, in its own unit: shape ``(len(FEATURES), count)``."""
    values = np.empty((len(FEATURES), count))
    for row, feature in enumerate(FEATURES):
        values[row] = feature.value(view)
    return values


def as_seen_by_models(values: Floats) -> NDArray[np.float32]:
    """What a detector is given: ``(n, f)`` float32, counters through log(1 + x)."""
    seen = values.copy()
    seen[_LOG] = np.log1p(seen[_LOG])
    return np.ascontiguousarray(seen.T, dtype=np.float32)


def _digest() -> str:
    rows = [f"{s.name}|{s.increment}|{s.half_life}" for s in DECAYED_COUNTERS] + [
        f"{f.name}|{f.unit}|{f.scale}" for f in FEATURES
    ]
    return blake2b("\n".join(rows).encode(), digest_size=8).hexdigest()


FEATURE_SET: Final = _digest()
"""Names the feature table: a model trained on another one is refused."""
