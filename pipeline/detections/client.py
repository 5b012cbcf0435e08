"""Detections: who presents the session: its network, software and token, and where that is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.columns import NETWORK_TYPE
from models.events.user_agents import BROWSER, HANDSET, LIBRARY, TOOL
from models.updates.context import known
from pipeline.detections.detection import (
    API_KEY,
    HUMAN,
    SERVICE,
    Detection,
    Holds,
    Limits,
    View,
    either,
    is_established,
    members,
    numbers,
)


def _unknown_network(x: View, moved: NDArray[Any]) -> Holds:
    """The principal context has just said that this network is new to the principal."""
    answer: Holds = x["answered"] & known(x["known"], "known_asn", False) & moved
    return answer


def _travelled(x: View, limit: Limits) -> Holds:
    """In the session; or beside another of the principal's, if not from a network it uses, as its own VPN."""
    usual = known(x["known"], "known_asn", True)
    elsewhere = x["answered"] & (x["elsewhere_kmh"] > limit["kmh"]) & ~usual
    answer: Holds = (x["speed_kmh"] > limit["kmh"]) | elsewhere
    return answer


def _is_machine(x: View) -> Holds:
    answer: Holds = (x["kind"] == API_KEY) | (x["kind"] == SERVICE)
    return answer


def _off_place(x: View, limit: Limits) -> Holds:
    moved = x["network_changes_1h"] > 0.5
    return _unknown_network(x, _is_machine(x) & (moved | _has_history(x, limit)))


def _has_history(x: View, limit: Limits) -> Holds:
    """A key may have one session for weeks: then its days tell where it is used from."""
    answer: Holds = (x["sessions_seen"] >= limit["sessions"]) | is_established(x, limit)
    return answer


def _is_unsettled(x: View, limit: Limits) -> Holds:
    return _is_machine(x) & ~_has_history(x, limit)


def _scripted(x: View, _: Limits) -> Holds:
    """A person's browser session is used by a script; an app of a handset has its user sign in by browser."""
    began, now = x["began_as"], x["software"]
    on_handset = (began | now) & HANDSET != 0
    stranger = (now & ~np.uint8(HANDSET) == TOOL) | ((now == LIBRARY) & ~on_handset)
    answer: Holds = (x["kind"] == HUMAN) & (began & ~np.uint8(HANDSET) == BROWSER) & stranger
    return answer


def _on_handset(x: View, _: Limits) -> Holds:
    handset = (x["software"] & HANDSET != 0) | (x["network_type"] == NETWORK_TYPE["cellular"])
    answer: Holds = _is_machine(x) & handset
    return answer


_BY_HANDSET: Final = either(("software", HANDSET), ("network_type", NETWORK_TYPE["cellular"]))


CLIENT: Final[tuple[Detection, ...]] = (
    Detection(
        "network_changed", "A person's session moved to a network new to that person.",
        "Please confirm it is you: your connection moved to a network we do not know.",
        "MEDIUM", 4.0, 3600.0, True, ("T1550.004",),
        lambda x, _: _unknown_network(x, (x["kind"] == HUMAN) & (x["network_changes_1h"] > 0.5)),
        ("network_changes_1h", "changes in 1 h"),
        "networks used before, or that the device itself reports from by then",
        "travel, a new provider, a hotspot, a tunnel: on a device that does not report its network",
        needs=members("auth-events", "ip", "asn") + members("api-calls", "ip", "asn"),
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        clearing="Cleared by proving a factor; else it counts for an hour.",
        prefilter=("answered", "network_changes_1h"),
    ),
    Detection(
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
        prefilter=("hijacked",),
    ),
    Detection(
        "impossible_travel", "Two places of this principal are too far apart for the time between them.",
        "Your account was used from two distant places at once, so this session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1078.004", "T1550.004"),
        _travelled, ("speed_kmh", "km/h"), "≤ {kmh:g} km/h",
        "a VPN not labelled as one, a geo database that errs", numbers(kmh=1000.0),
        needs=members("auth-events", "latitude", "longitude")
        + members("api-calls", "latitude", "longitude", "network_type"),
        references=("NIST CSF 2.0 DE.AE-03",),
        clearing="It passes an hour after the last such jump, or an analyst reports a false positive.",
        prefilter=(either("speed_kmh", "answered"),),
    ),
    Detection(
        "api_key_off_place", "A key or service is used from a network it was never used from.",
        "An API key was used from an unknown network and was disabled.",
        "HIGH", 6.0, 3600.0, False, ("T1552.001", "T1078.004"),
        _off_place, ("network_changes_1h", "changes in 1 h"), "networks used before",
        "a new region, a changed egress address", numbers(sessions=3.0, days=3.0),
        needs=("api-calls.asn", "api-calls.ip"), learning=_is_unsettled,
        references=("NHI2:2025", "NHI7:2025"),
        clearing="An analyst reports a false positive: the network is the principal's from then on.",
        prefilter=("answered",),
    ),
    Detection(
        "non_browser_client", "A session that began in a browser is used by a script or tool.",
        "Please confirm it is you: your session is used by a program that is no browser.",
        "MEDIUM", 4.0, 3600.0, True, ("T1550.004", "T1539"),
        _scripted, ("client_changes_1h", "changes in 1 h"), "a browser",
        "one's own script on one's own cookie; a command line that signs in by browser",
        needs=("auth-events.user_agent", "api-calls.user_agent"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST SP 800-207 §2.1 tenet 6"),
        clearing="A factor proved again, for an hour.",
        answers_s=3600.0,
        prefilter=(("software", TOOL & LIBRARY), ("began_as", BROWSER)),
    ),
    Detection(
        "machine_on_handset", "A key or service is used from a handset or a cellular network.",
        "An API key was used from a handset.",
        "MEDIUM", 4.0, 3600.0, False, ("T1552.001", "T1078.004", "T1528"),
        _on_handset, ("calls_1h", "calls in 1 h"), "a server",
        "a key that an app of handsets carries, a device behind a cellular router",
        needs=("api-calls.user_agent", "api-calls.network_type"),
        references=("NHI2:2025", "NHI10:2025"),
        clearing="It passes an hour after the last such call.",
        prefilter=(("kind", SERVICE & API_KEY), _BY_HANDSET),
    ),
)  # fmt: skip
