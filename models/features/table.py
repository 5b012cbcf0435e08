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
    DecayedCounter("calls_1m", "call", MINUTE),
    DecayedCounter("calls_10m", "call", TEN_MINUTES),
    DecayedCounter("calls_1h", "call", HOUR),
    DecayedCounter("errors_10m", "error", TEN_MINUTES),
    DecayedCounter("denied_10m", "denied", TEN_MINUTES),
    DecayedCounter("bytes_out_10m", "bytes_out", TEN_MINUTES),
    DecayedCounter("bytes_out_1h", "bytes_out", HOUR),
    DecayedCounter("records_10m", "records", TEN_MINUTES),
    DecayedCounter("sensitive_records_10m", "sensitive_records", TEN_MINUTES),
    DecayedCounter("sensitive_records_1h", "sensitive_records", HOUR),
    DecayedCounter("sensitive_calls_10m", "sensitive_call", TEN_MINUTES),
    DecayedCounter("writes_10m", "write", TEN_MINUTES),
    DecayedCounter("new_operations_10m", "new_operation", TEN_MINUTES),
    DecayedCounter("new_addresses_1h", "new_address", HOUR),
    DecayedCounter("new_resources_10m", "new_resource", TEN_MINUTES),
    DecayedCounter("tool_calls_1m", "tool_call", MINUTE),
    DecayedCounter("new_tools_10m", "new_tool", TEN_MINUTES),
    DecayedCounter("network_changes_1h", "network_changed", HOUR),
    DecayedCounter("client_changes_1h", "client_changed", HOUR),
    DecayedCounter("token_changes_1h", "token_changed", HOUR),
    DecayedCounter("key_changes_1h", "key_changed", HOUR),
    DecayedCounter("auth_failures_10m", "auth_failed", TEN_MINUTES),
    DecayedCounter("mfa_denials_10m", "mfa_denied", TEN_MINUTES),
    DecayedCounter("credentials_created_10m", "created", TEN_MINUTES),
    DecayedCounter("rights_granted_10m", "granted", TEN_MINUTES),
    DecayedCounter("audit_blinded_10m", "blinded", TEN_MINUTES),
    DecayedCounter("credential_changes_1h", "credential_changed", HOUR),
    DecayedCounter("surprise_10m", "surprise", TEN_MINUTES),
    DecayedCounter("rare_transitions_10m", "rare", TEN_MINUTES),
    DecayedCounter("refused_10m", "refused_new", TEN_MINUTES),
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
    return Feature(name, unit, text, source, lambda x: x[name])


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
        "error_ratio_10m", "of calls", "share of calls that failed", "api-calls",
        _ratio("errors_10m", "calls_10m"), "plain",
    ),
    Feature(
        "denied_ratio_10m", "of calls", "share of calls that were denied", "api-calls",
        _ratio("denied_10m", "calls_10m"), "plain",
    ),
    _sum("bytes_out_10m", "bytes", "bytes sent to the client, last ten minutes", "api-calls"),
    _sum("bytes_out_1h", "bytes", "bytes sent to the client, last hour", "api-calls"),
    _sum("records_10m", "records", "records read or written, last ten minutes", "api-calls"),
    _sum("sensitive_records_10m", "records", "confidential or restricted, last ten minutes", "api-calls"),
    _sum("sensitive_records_1h", "records", "confidential or restricted, last hour", "api-calls"),
    _sum("sensitive_calls_10m", "calls", "calls on confidential or restricted data", "api-calls"),
    Feature(
        "sensitive_ratio_10m", "of calls", "share of calls on confidential or restricted data", "api-calls",
        _ratio("sensitive_calls_10m", "calls_10m"), "plain",
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
    Feature("speed_kmh", "km/h", "speed between this place and the last", "all", lambda x: x["speed_kmh"]),
    Feature(
        "silence_in_use", "intervals", "silence of the device while its session was used", "device-telemetry",
        lambda x: x["silence_in_use"],
    ),
    Feature(
        "attestation_age_m", "minutes", "age of the newest attestation (0 without a device)",
        "device-telemetry", _minutes("attestation_age"),
    ),
    Feature(
        "posture_faults", "facts", "posture facts that speak against the device", "device-telemetry",
        lambda x: x["posture_faults"], "plain",
    ),
    Feature(
        "unattested", "0 or 1", "device bound, and its attestation missing, failed or virtual",
        "device-telemetry", lambda x: x["unattested"], "plain",
    ),
    Feature("session_age_m", "minutes", "since the session's first event", "all", _minutes("session_age")),
    Feature(
        "strong_auth_age_m", "minutes", "since a factor was last proved", "auth-events",
        _minutes("strong_age"),
    ),
    Feature(
        "novelty", "0 to 1", "share of client facts new to the principal", "all",
        lambda x: x["novelty"], "plain",
    ),
    Feature(
        "concurrent_sessions", "sessions", "the principal's other live sessions", "all",
        lambda x: x["concurrent"],
    ),
    Feature(
        "surprise_10m", "nats", "how far calls were less likely than the role expects", "api-calls",
        lambda x: x["surprise_10m"], "plain",
    ),
    Feature(
        "surprise_ratio_10m", "nats a call", "the same for the mean of the calls", "api-calls",
        _ratio("surprise_10m", "calls_10m"), "plain",
    ),
    _sum(
        "rare_transitions_10m", "calls", "calls rarer than 999 in 1,000 of the role's, last ten minutes",
        "api-calls",
    ),
)  # fmt: skip
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
