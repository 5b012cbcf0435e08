"""Detections: who presents the session: its network, software and token, and where that is."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from models.device_facts import known
from pipeline.rules.rule import API_KEY, HUMAN, SERVICE, Holds, Limits, Rule, View, numbers


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
        "impossible_travel", "Two places of this principal are too far apart for the time between them.",
        "Your account was used from two distant places at once, so this session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1078.004", "T1550.004"),
        _travelled, ("speed_kmh", "km/h"), "≤ {kmh:g} km/h",
        "a VPN not labelled as one, a corrected geo database", numbers(kmh=1000.0),
    ),
    Rule(
        "api_key_off_place", "A key or service is used from a network it was never used from.",
        "An API key was used from an unknown network and was disabled.",
        "HIGH", 6.0, 3600.0, False, ("T1552.001", "T1078.004"),
        _off_place, ("network_changes_1h", "changes in 1 h"), "networks used before",
        "a new region, a changed egress address", numbers(sessions=1.0),
    ),
)  # fmt: skip
