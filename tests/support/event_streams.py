"""Streams of events over a few sessions, in order of arrival, in which nearly everything happens."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.detectors.base import Moved
from models.events.columns import AUTH_ACTIONS
from models.features.table import FEATURE_NAMES
from tests.support.run_processors import Event
from tests.support.samples import T0, auth, call, context, feedback

BUSY = """
[levels]
dwell_s = 20
[guard]
revocations_per_minute = 2
silent_fleet_min_devices = 2
[times]
step_up_s = 40
ack_s = 15
repeat_s = 25
idle_s = 150
ended_grace_s = 60
revoked_grace_s = 120
suppression_s = 60
[detections.mass_read.limits]
records = 100
[detections.agent_tool_burst.limits]
calls = 3
"""
"""A policy under which little must happen, and soon."""
SESSIONS = ("s-1", "s-2", "s-3", "s-4")
session = st.sampled_from(SESSIONS)


class OddTotals:
    """A detector that finds every other vector odd: enough to see that its word is heard in time."""

    is_general = False
    id = "odd@1"

    def score(self, seen: NDArray[np.float32], kinds: NDArray[np.uint8]) -> NDArray[np.float64]:
        return np.floor(seen[:, FEATURE_NAMES.index("calls_1h")].astype(np.float64) * 3) % 4 / 4

    def band(self, scores: NDArray[np.float64]) -> NDArray[np.uint8]:
        return (scores * 4).astype(np.uint8)

    def explain(self, values: NDArray[np.float64], kind: int, limit: int) -> list[Moved]:
        return [Moved("calls_1h", float(values[FEATURE_NAMES.index("calls_1h")]), 0.0, 1.0, 9.0)][:limit]


def _or_none(*values: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


CLIENT = st.fixed_dictionaries(
    {},
    optional={
        "asn": st.sampled_from([1, 2]),
        "ip": st.sampled_from(["192.0.2.1", "198.51.100.1", "10.0.0.1"]),
        "network_type": st.sampled_from(["wifi", "cellular", "vpn", "tor"]),
        "user_agent": st.sampled_from(["Firefox/1", "curl/8", "okhttp/4 (Android)"]),
        "device_id": st.sampled_from(["phone-1", "phone-2"]),
        "principal_kind": st.sampled_from(["human", "agent", "service"]),
        "principal_id": st.sampled_from(["ana", "bob"]),
        "latitude": st.sampled_from([10.0, 18.0, 50.0]),
        "country": st.sampled_from(["DE", "AT"]),
        "longitude": st.just(10.0),
    },
)
CALLS = st.builds(
    lambda client, rest: (call, client | rest),
    CLIENT,
    st.fixed_dictionaries(
        {},
        optional={
            "records": st.just(60),
            "sensitivity": st.just("restricted"),
            "tool": st.sampled_from(["mail", "shell"]),
            "operation": st.sampled_from(["iam:CreateAccessKey", "iam:AttachUserPolicy", "cloudtrail:StopLogging"]),
        },
    ),
)
AUTHS = st.builds(
    lambda client, action, parent: (auth, {**client, "action": action, "parent_session_id": parent}),
    CLIENT,
    st.sampled_from(["step_up_passed", "sign_in", "sign_out", "mfa_denied", "mfa_passed", "token_refreshed"])
    | st.sampled_from(AUTH_ACTIONS),
    _or_none(*SESSIONS),
)
DEVICES = st.fixed_dictionaries(
    {"source": st.just("device")},
    optional={
        "rooted": st.booleans(),
        "malware": st.sampled_from(["none", "detected"]),
        "heartbeat_interval_ms": st.sampled_from([5_000, 30_000]),
        "device_id": st.just("phone-1"),
        "heard": st.integers(-60, 0),
        "attestation": st.sampled_from(["strong", "failed"]),
        "signals": st.sampled_from([[], ["posture_downgraded"], ["sim_changed", "clock_tampered"]]),
        "details": st.dictionaries(
            st.sampled_from(["posture_downgraded", "clock_tampered"]), st.sampled_from(["a", "b"])
        ),
    },
)
PRINCIPALS = st.fixed_dictionaries(
    {
        "source": st.just("principal"),
        "known_asn": _or_none(True, False),
        "sessions_seen": st.integers(0, 4),
        "signals": _or_none(
            [], ["new_device"], ["factor_reset_new_device"], ["new_anonymiser"], ["new_tor", "off_home"]
        ),
    }
)
NETWORKS = st.fixed_dictionaries(
    {
        "source": st.just("network"),
        "signals": st.sampled_from([["sprayed_network"], ["network_of_newcomers"], []]),
        "network_principals": st.integers(3, 9),
    }
)
RELATIVES = st.one_of(
    st.builds(lambda item: {"source": "lineage", "relation": "child", "child_session_id": item}, session),
    st.builds(lambda item: {"source": "lineage", "relation": "ancestor_revoked", "root_session_id": item}, session),
)
MUTED = st.builds(
    lambda detection, until: {"source": "feedback", "muted": {detection: T0 + until * 1000}},
    st.sampled_from(["mass_read", "network_changed", "token_replayed"]),
    st.integers(0, 200),
)
CONTEXTS = st.builds(lambda details: (context, details), DEVICES | PRINCIPALS | NETWORKS | RELATIVES | MUTED)
VERDICTS = st.builds(
    lambda verdict: (feedback, {"verdict": verdict}),
    st.sampled_from(["false_positive", "confirmed_compromised", "unsure"]),
)
STEPS = st.tuples(
    session,
    st.sampled_from([0, 1, 2, 5, 5, 11, 30, 70, -8]),
    CALLS | CALLS | AUTHS | AUTHS | CONTEXTS | VERDICTS,
)


def _events(steps: list[tuple[str, int, tuple[Any, dict[str, Any]]]]) -> list[Event]:
    at, events = 0, []
    for number, (session_id, later, (make, members)) in enumerate(steps):
        at = max(at + later, 0)
        fields = {"session_id": session_id, "at": at, **members}
        if "heard" in fields or fields.get("source") == "device":
            fields["heard_at"] = T0 + (at + fields.pop("heard", 0)) * 1000
        if make is not feedback:
            fields["event_id"] = f"n-{number}"
        events.append(make(**fields))
    return events


STREAMS = st.lists(STEPS, min_size=1, max_size=40).map(_events)
CUTS = st.sets(st.integers(1, 40))
