"""The detections, one row each: when it holds, what it weighs, what others call it, what to tell people.

A rule is a question about a session after an event, asked of a whole chunk at once; it remembers nothing.
What it found is remembered by the session's case (:mod:`pipeline.case`) for ``hold_s`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns import ACTION, PRINCIPAL_KIND
from models.device_facts import flag, known, malware

View = Mapping[str, NDArray[Any]]
Limits = Mapping[str, float]
Holds = NDArray[np.bool_]
Severity = Literal["LOW", "MEDIUM", "HIGH"]

ATTACK_VERSION: Final = "18.1"
FOREVER: Final = 10 * 365 * 86_400.0
_HUMAN, _SERVICE, _API_KEY, _AGENT = (PRINCIPAL_KIND[k] for k in ("human", "service", "api_key", "agent"))


@dataclass(frozen=True, slots=True)
class Rule:
    """One detection.

    Attributes:
        id: its name everywhere: metrics, policy, reasons, tests.
        text: one sentence for an analyst.
        user_text: one sentence for the person whose session it is.
        severity: CAEP's word for how bad it is alone.
        weight: log-odds it adds while it holds.
        hold_s: seconds it goes on counting after it last held.
        cleared_by_step_up: whether proving a factor again removes it.
        attack: ATT&CK technique ids, of version :data:`ATTACK_VERSION`.
        holds: (view, limits) → ``(n,)`` bools; ``None`` where only the session's case can tell.
        observed: which fact of the view to show, with its unit.
        normal: what is expected, with ``{limit}`` names filled in.
        limits: numbers a policy may change.
        silence: whether it rests on telemetry *not* having come.
        known_false_positives: what honest people do that looks like it.
    """

    id: str
    text: str
    user_text: str
    severity: Severity
    weight: float
    hold_s: float
    cleared_by_step_up: bool
    attack: tuple[str, ...]
    holds: Callable[[View, Limits], Holds] | None
    observed: tuple[str, str]
    normal: str
    known_false_positives: str
    limits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    silence: bool = False


def _limits(**numbers: float) -> Mapping[str, float]:
    return MappingProxyType(numbers)


def _silent(x: View, limit: Limits) -> Holds:
    answer: Holds = x["telemetry_gap"] > limit["intervals"]
    return answer


def _stale_agent(x: View, limit: Limits) -> Holds:
    waited = (x["heard_at"] > 0) | (x["session_age"] > limit["grace_s"] * 1000)
    stale = x["unattested"] | (x["attestation_age"] > limit["minutes"] * 60_000)
    answer: Holds = (x["kind"] == _AGENT) & x["calling"] & x["bound"] & waited & stale
    return answer


def _unknown_network(x: View, moved: NDArray[Any]) -> Holds:
    """The principal context has just said that this network is new to the principal."""
    answer: Holds = x["answered"] & known(x["known"], "known_asn", False) & moved
    return answer


def _chain_steps(x: View, limit: Limits) -> NDArray[np.int64]:
    steps = ("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m")
    taken: NDArray[np.int64] = np.sum([x[name] > limit["left"] for name in steps], axis=0, dtype=np.int64)
    return taken


def _travelled(x: View, limit: Limits) -> Holds:
    elsewhere = x["answered"] & (x["elsewhere_kmh"] > limit["kmh"])
    answer: Holds = (x["speed_kmh"] > limit["kmh"]) | elsewhere
    return answer


def _tool_burst(x: View, limit: Limits) -> Holds:
    busy = (x["tool_calls_1m"] > limit["calls"]) | (x["new_tools_10m"] > limit["new_tools"])
    answer: Holds = (x["kind"] == _AGENT) & busy
    return answer


def _off_place(x: View, limit: Limits) -> Holds:
    machine = (x["kind"] == _API_KEY) | (x["kind"] == _SERVICE)
    settled = (x["network_changes_1h"] > 0.5) | (x["sessions_seen"] >= limit["sessions"])
    return _unknown_network(x, machine & settled)


def _mass_read(x: View, limit: Limits) -> Holds:
    answer: Holds = (x["kind"] != _SERVICE) & (x["sensitive_records_10m"] > limit["records"])
    return answer


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "device_rooted", "The session's device is jailbroken, rooted, hooked or an emulator.",
        "Your device no longer meets the security rules, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1404", "T1629.003"),
        lambda x, _: flag(x["posture"], "rooted", True) | flag(x["posture"], "hooked", True)
        | flag(x["posture"], "emulator", True),
        ("posture_faults", "faults"), "no posture faults", "test farms; developers' own devices",
    ),
    Rule(
        "malware_on_device", "Malware was reported on the session's device and is not quarantined.",
        "Malware was found on your device, so you were signed out.",
        "HIGH", 8.0, 0.0, False, ("T1660", "T1539"),
        lambda x, _: malware(x["posture"], "detected"),
        ("posture_faults", "faults"), "none detected", "adware of low severity",
    ),
    Rule(
        "telemetry_silent_while_active",
        "The device stopped sending telemetry while the session goes on calling.",
        "We lost contact with your device's security check, so you were signed out.",
        "HIGH", 6.0, 0.0, False, ("T1629.003", "T1562.001"),
        lambda x, limit: x["calling"] & _silent(x, limit),
        ("telemetry_gap", "intervals"), "≤ {intervals:g} intervals",
        "a tunnel, a flight, an update of the agent", _limits(intervals=3.0), silence=True,
    ),
    Rule(
        "telemetry_silent_while_idle", "The device stopped sending telemetry; the session is idle.",
        "Please confirm it is you: we lost contact with your device's security check.",
        "MEDIUM", 4.0, 0.0, True, ("T1629.003",),
        lambda x, limit: ~x["calling"] & _silent(x, limit),
        ("telemetry_gap", "intervals"), "≤ {intervals:g} intervals",
        "a device that sleeps without saying so", _limits(intervals=3.0), silence=True,
    ),
    Rule(
        "agent_without_fresh_attestation",
        "An agent calls tools from a device without fresh proof of its health.",
        "Your assistant was disconnected until your device proves its health again.",
        "HIGH", 6.0, 0.0, False, ("T1645", "T1078.004"),
        _stale_agent, ("attestation_age_m", "minutes"), "attested within {minutes:g} minutes",
        "an attestation service that is down", _limits(minutes=15.0, grace_s=60.0), silence=True,
    ),
    Rule(
        "network_changed", "A person's session moved to a network new to that person.",
        "Please confirm it is you: your connection moved to a network we do not know.",
        "MEDIUM", 4.0, 3600.0, True, ("T1550.004",),
        lambda x, _: _unknown_network(x, (x["kind"] == _HUMAN) & (x["network_changes_1h"] > 0.5)),
        ("network_changes_1h", "changes in 1 h"), "networks used before", "travel, a new provider, a hotspot",
    ),
    Rule(
        "token_replayed", "The same token was presented by another client from another network.",
        "Your session was used from somewhere else, so it was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1539", "T1550.004"),
        lambda x, _: x["hijacked"],
        ("client_changes_1h", "changes in 1 h"), "one client, or one network",
        "a new browser and a new network in the same minute, without a new sign-in",
    ),
    Rule(
        "ancestor_revoked", "The session this one was born from was revoked.",
        "The session that started this one was ended for safety.",
        "HIGH", 8.0, FOREVER, False, ("T1550.001",),
        lambda x, _: x["fallen"],
        ("fallen", "ancestor"), "ancestors trusted", "whatever made the ancestor fall falsely",
    ),
    Rule(
        "impossible_travel", "Two places of this principal are too far apart for the time between them.",
        "Your account was used from two distant places at once, so this session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1078.004", "T1550.004"),
        _travelled, ("speed_kmh", "km/h"), "≤ {kmh:g} km/h",
        "a VPN not labelled as one, a corrected geo database", _limits(kmh=1000.0),
    ),
    Rule(
        "mfa_fatigue", "A prompt was approved after a burst of denied prompts.",
        "You denied several sign-in prompts and then one was approved, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1621",),
        lambda x, limit: (x["action"] == ACTION["mfa_passed"]) & (x["mfa_denials_10m"] > limit["denials"]),
        ("mfa_denials_10m", "denials in 10 min"), "≤ {denials:g} denials",
        "somebody learning a new phone", _limits(denials=3.5),
    ),
    Rule(
        "mass_read", "Far more confidential or restricted records were read than people read.",
        "An unusual amount of sensitive data was read, so the session was ended.",
        "HIGH", 6.0, 1800.0, False, ("T1530", "T1213"),
        _mass_read, ("sensitive_records_10m", "records in 10 min"), "≤ {records:g} records",
        "a migration, an export that was agreed", _limits(records=5000.0),
    ),
    Rule(
        "privilege_chain",
        "A credential was made, rights were widened and audit was switched off, in minutes.",
        "Administrative rights were changed in an unsafe way, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1098.001", "T1098.003", "T1562.008"),
        lambda x, limit: _chain_steps(x, limit) >= 3,
        ("audit_blinded_10m", "audit changes in 10 min"), "never all three", "infrastructure as code",
        _limits(left=0.25),
    ),
    Rule(
        "privilege_widened", "Two steps of the privilege chain within minutes: credential, rights, audit.",
        "Please confirm it is you: administrative rights were changed.",
        "MEDIUM", 4.0, 1800.0, True, ("T1098.001", "T1098.003"),
        lambda x, limit: _chain_steps(x, limit) == 2,
        ("rights_granted_10m", "grants in 10 min"), "one step at a time",
        "infrastructure as code, onboarding", _limits(left=0.25),
    ),
    Rule(
        "agent_tool_burst", "An agent calls tools in a burst, or tools it never used before.",
        "Your assistant behaved unusually and was disconnected.",
        "HIGH", 6.0, 1800.0, False, ("T1059.009", "T1078.004"),
        _tool_burst, ("tool_calls_1m", "tool calls in 1 min"), "≤ {calls:g} calls, ≤ {new_tools:g} new tools",
        "an evaluation run, a new task", _limits(calls=60.0, new_tools=3.5),
    ),
    Rule(
        "api_key_off_place", "A key or service is used from a network it was never used from.",
        "An API key was used from an unknown network and was disabled.",
        "HIGH", 6.0, 3600.0, False, ("T1552.001", "T1078.004"),
        _off_place, ("network_changes_1h", "changes in 1 h"), "networks used before",
        "a new region, a changed egress address", _limits(sessions=1.0),
    ),
    Rule(
        "step_up_missed", "The session was asked to prove a factor again and did not by the deadline.",
        "You were asked to confirm it is you and the time ran out.",
        "HIGH", 8.0, FOREVER, True, ("T1550.004",),
        None, ("strong_auth_age_m", "minutes since a factor"), "step-up passed in time",
        "a person away from the desk",
    ),
    Rule(
        "confirmed_compromised", "An analyst or the user confirmed that this session is compromised.",
        "This session was reported as compromised and was ended.",
        "HIGH", 10.0, FOREVER, False, ("T1078",),
        lambda x, _: x["confirmed"],
        ("confirmed", "report"), "no report", "a mistaken click",
    ),
)  # fmt: skip
RULE_IDS: Final = tuple(rule.id for rule in RULES)
BIT: Final = {rule_id: index for index, rule_id in enumerate(RULE_IDS)}


def firing(view: View, limits: tuple[Limits, ...], count: int) -> NDArray[np.uint64]:
    """Which detections hold after each event: bit *i* is ``RULES[i]``; shape ``(count,)``."""
    mask = np.zeros(count, np.uint64)
    for index, rule in enumerate(RULES):
        if rule.holds is not None:
            holds = rule.holds(view, limits[index])
            if holds.any():
                mask |= holds.astype(np.uint64) << np.uint64(index)
    return mask
