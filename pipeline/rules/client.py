"""Detections: who presents the session: its network, software and token, and where that is."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from models.device_facts import known
from pipeline.rules.rule import API_KEY, HUMAN, SERVICE, Holds, Limits, Rule, View, members, numbers


def _unknown_network(x: View, moved: NDArray[Any]) -> Holds:
    """The principal context has just said that this network is new to the principal."""
    answer: Holds = x["answered"] & known(x["known"], "known_asn", False) & moved
    return answer


def _travelled(x: View, limit: Limits) -> Holds:
    elsewhere = x["answered"] & (x["elsewhere_kmh"] > limit["kmh"])
    answer: Holds = (x["speed_kmh"] > limit["kmh"]) | elsewhere
    return answer


def _off_place(x: View, limit: Limits) -> Holds:
    machine = (x["kind"] == API_KEY) | (x["kind"] == SERVICE)
    settled = (x["network_changes_1h"] > 0.5) | (x["sessions_seen"] >= limit["sessions"])
    return _unknown_network(x, machine & settled)


CLIENT: Final[tuple[Rule, ...]] = (
    Rule(
        "network_changed", "A person's session moved to a network new to that person.",
        "Please confirm it is you: your connection moved to a network we do not know.",
        "MEDIUM", 4.0, 3600.0, True, ("T1550.004",),
        lambda x, _: _unknown_network(x, (x["kind"] == HUMAN) & (x["network_changes_1h"] > 0.5)),
        ("network_changes_1h", "changes in 1 h"), "networks used before", "travel, a new provider, a hotspot",
        needs=members("auth-events", "ip", "asn") + members("api-calls", "ip", "asn"),
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        clearing="Cleared by proving a factor; else it counts for an hour.",
    ),
    Rule(
        "token_replayed", "The same token was presented by another client from another network.",
        "Your session was used from somewhere else, so it was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1539", "T1550.004"),
        lambda x, _: x["hijacked"],
        ("client_changes_1h", "changes in 1 h"), "one client, or one network",
        "a new browser and a new network in the same minute, without a new sign-in",
        needs=members("auth-events", "token_id", "user_agent")
        + members("api-calls", "token_id", "ip", "asn", "user_agent", "ja4"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST SP 800-207 §2.1 tenet 6"),
        clearing="Counts for an hour; proving a factor does not clear it, for the copied token remains.",
    ),
    Rule(
        "impossible_travel", "Two places of this principal are too far apart for the time between them.",
        "Your account was used from two distant places at once, so this session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1078.004", "T1550.004"),
        _travelled, ("speed_kmh", "km/h"), "≤ {kmh:g} km/h",
        "a VPN not labelled as one, a corrected geo database", numbers(kmh=1000.0),
        needs=members("auth-events", "latitude", "longitude")
        + members("api-calls", "latitude", "longitude", "network_type"),
        references=("NIST CSF 2.0 DE.AE-03",),
        clearing="Counts for an hour; proving a factor does not clear it.",
    ),
    Rule(
        "api_key_off_place", "A key or service is used from a network it was never used from.",
        "An API key was used from an unknown network and was disabled.",
        "HIGH", 6.0, 3600.0, False, ("T1552.001", "T1078.004"),
        _off_place, ("network_changes_1h", "changes in 1 h"), "networks used before",
        "a new region, a changed egress address", numbers(sessions=1.0),
        needs=members("auth-events", "ip", "asn") + members("api-calls", "ip", "asn")
        + members("auth-events", "principal_kind"),
        references=("NIST CSF 2.0 DE.CM-01", "NHI2:2025"),
        clearing="Counts for an hour; a key cannot prove a factor.",
    ),
)  # fmt: skip
