"""The features: what the model and the detections see of a session, as two tables of decayed counters and of features.

A feature's value is a function of the session's state after an event (:mod:`models.updates.fold`), in the stated
unit. To add a feature, add its row here and a history with its value to ``tests/models/test_features.py``.
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
"""Arrays of shape ``(n,)`` by name: every counter of :data:`DECAYED_COUNTERS` and every fact of the fold."""
Source = Literal["api-calls", "auth-events", "device-telemetry", "all"]

MINUTE: Final = 60_000.0
TEN_MINUTES: Final = 600_000.0
HOUR: Final = 3_600_000.0
HALF_LIVES: Final = (MINUTE, TEN_MINUTES, HOUR)
"""In ms."""


@dataclass(frozen=True, slots=True)
class DecayedCounter:
    """An exponentially decayed sum.

    Attributes:
        name: ``<what>_<window>``; unique.
        increment: what an event adds to it, of :data:`INCREMENTS`.
        half_life: ms after which half of the sum is left.
    """

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
COUNTER_NAMES: Final = tuple(counter.name for counter in DECAYED_COUNTERS)
INCREMENTS: Final = tuple(dict.fromkeys(counter.increment for counter in DECAYED_COUNTERS))
"""What an event may add to counters; the fold computes an array of these."""
INCREMENT: Final = {name: index for index, name in enumerate(INCREMENTS)}


@dataclass(frozen=True, slots=True)
class Feature:
    """One number that a model sees.

    Attributes:
        name: ``<what>_<window>``; unique.
        unit: what a person would write after the number.
        text: one line for analysts and data engineers.
        source: the topic it comes from.
        value: the view after each event → ``(n,)`` values; always finite, and with scale ``log`` never negative.
        scale: how the model sees it: ``log`` is log(1 + value), for values that grow by factors.
        counter: the counter that it is as it stands, if it is one.
    """

    name: str
    unit: str
    text: str
    source: Source
    value: Callable[[View], NDArray[Any]]
    scale: Literal["log", "plain"] = "log"
    counter: str = ""


def _counter(name: str, *, unit: str, text: str, source: Source) -> Feature:
    """The feature that is the decayed counter *name* as it stands."""
    return Feature(name=name, unit=unit, text=text, source=source, value=lambda x: x[name], counter=name)


def _ratio(part: str, whole: str) -> Callable[[View], Floats]:
    """*part* per *whole* plus one good call, so that a single failed call is not 100 %."""
    return lambda x: x[part] / (x[whole] + 1.0)


def _minutes(name: str) -> Callable[[View], Floats]:
    """The fact *name*, which is in ms, in minutes."""
    return lambda x: x[name] / MINUTE


FEATURES: Final[tuple[Feature, ...]] = (
    _counter("calls_1m", unit="calls", text="API calls, last minute", source="api-calls"),
    _counter("calls_10m", unit="calls", text="API calls, last ten minutes", source="api-calls"),
    _counter("calls_1h", unit="calls", text="API calls, last hour", source="api-calls"),
    _counter("errors_10m", unit="calls", text="calls answered with 4xx or 5xx", source="api-calls"),
    _counter("denied_10m", unit="calls", text="calls answered with 401 or 403", source="api-calls"),
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
    _counter("bytes_out_10m", unit="bytes", text="bytes sent to the client, last ten minutes", source="api-calls"),
    _counter("bytes_out_1h", unit="bytes", text="bytes sent to the client, last hour", source="api-calls"),
    _counter("records_10m", unit="records", text="records read or written, last ten minutes", source="api-calls"),
    _counter(
        "sensitive_records_10m", unit="records", text="confidential or restricted, last ten minutes", source="api-calls"
    ),
    _counter("sensitive_records_1h", unit="records", text="confidential or restricted, last hour", source="api-calls"),
    _counter("sensitive_calls_10m", unit="calls", text="calls on confidential or restricted data", source="api-calls"),
    Feature(
        name="sensitive_ratio_10m",
        unit="of calls",
        text="share of calls on confidential or restricted data",
        source="api-calls",
        value=_ratio("sensitive_calls_10m", "calls_10m"),
        scale="plain",
    ),
    _counter("writes_10m", unit="calls", text="calls that change something", source="api-calls"),
    _counter(
        "new_operations_10m",
        unit="operations",
        text="operations not used in the last one to two hours",
        source="api-calls",
    ),
    _counter(
        "new_addresses_1h", unit="addresses", text="addresses not seen in the last one to two hours", source="api-calls"
    ),
    _counter(
        "new_resources_10m",
        unit="resources",
        text="resources not touched in the last one to two hours",
        source="api-calls",
    ),
    _counter("tool_calls_1m", unit="calls", text="an agent's tool calls, last minute", source="api-calls"),
    _counter(
        "new_tools_10m",
        unit="tools",
        text="tools first used after the session's first five minutes",
        source="api-calls",
    ),
    _counter("network_changes_1h", unit="changes", text="changes of the client's network", source="all"),
    _counter("client_changes_1h", unit="changes", text="changes of the client's software or device", source="all"),
    _counter("token_changes_1h", unit="changes", text="changes of the token presented", source="all"),
    _counter("key_changes_1h", unit="changes", text="changes of the key that proves possession", source="all"),
    _counter("auth_failures_10m", unit="failures", text="failed sign-ins before this moment", source="auth-events"),
    _counter("mfa_denials_10m", unit="denials", text="prompts the user denied", source="auth-events"),
    _counter("credentials_created_10m", unit="calls", text="calls that create a credential", source="api-calls"),
    _counter("rights_granted_10m", unit="calls", text="calls that widen a right", source="api-calls"),
    _counter("audit_blinded_10m", unit="calls", text="calls that switch off audit", source="api-calls"),
    _counter(
        "credential_changes_1h", unit="changes", text="credentials added, changed or removed", source="auth-events"
    ),
    _counter(
        "refused_10m", unit="things", text="different operations or resources refused or not found", source="api-calls"
    ),
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
    _counter(
        "rare_transitions_10m",
        unit="calls",
        text="calls rarer than 999 in 1,000 of the role's, last ten minutes",
        source="api-calls",
    ),
)
FEATURE_NAMES: Final = tuple(feature.name for feature in FEATURES)
_LOG: Final = np.array([feature.scale == "log" for feature in FEATURES])


_PLAIN: Final = [(row, feature.counter) for row, feature in enumerate(FEATURES) if feature.counter]
_PLAIN_ROWS: Final = np.array([row for row, _ in _PLAIN])
_PLAIN_COUNTERS: Final = np.array([COUNTER_NAMES.index(counter) for _, counter in _PLAIN])
_OTHERS: Final = [(row, feature.value) for row, feature in enumerate(FEATURES) if not feature.counter]


def matrix(view: View, sums: Floats) -> Floats:
    """Every feature after each of n events, in its own unit; shape ``(len(FEATURES), n)``.

    *sums* ``(n, len(DECAYED_COUNTERS))`` are the counters of *view*; those that are features as they stand are copied
    from there at once.
    """
    values = np.empty((len(FEATURES), len(sums)))
    values[_PLAIN_ROWS] = sums.T[_PLAIN_COUNTERS]
    for row, value in _OTHERS:
        values[row] = value(view)
    return values


def as_seen_by_models(values: Floats) -> NDArray[np.float32]:
    """Input of a detector: *values* of :func:`matrix` with its scale applied, transposed to ``(n, f)`` float32."""
    scaled = values.copy()
    scaled[_LOG] = np.log1p(scaled[_LOG])
    return np.ascontiguousarray(scaled.T, dtype=np.float32)


def in_own_units(seen: NDArray[np.float32]) -> Floats:
    """The inverse of :func:`as_seen_by_models`, but for its rounding, as rows: ``(n, f)``."""
    values = seen.astype(np.float64)
    values[:, _LOG] = np.expm1(values[:, _LOG])
    return values


def _digest() -> str:
    counters = [f"{counter.name}|{counter.increment}|{counter.half_life}" for counter in DECAYED_COUNTERS]
    features = [f"{feature.name}|{feature.unit}|{feature.scale}" for feature in FEATURES]
    return blake2b("\n".join(counters + features).encode(), digest_size=8).hexdigest()


FEATURE_SET: Final = _digest()
"""Digest of both tables: a model that was trained on other features is refused."""
