"""Detections on the client that presents the session: its network, location, software and token."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.events.columns import NETWORK_TYPE
from models.events.user_agents import BACKEND, BROWSER, HANDSET, LIBRARY, TOOL, UNKNOWN
from models.updates.context import known
from pipeline.detections.detection import (
    API_KEY,
    HUMAN,
    SERVICE,
    Bools,
    Detection,
    Limits,
    View,
    either,
    event_fields,
    is_established,
)


def _unknown_network(x: View, moved: NDArray[Any]) -> Bools:
    """The principal context has just reported that this network is new to the principal."""
    return x["answered"] & known(x["known"], "known_asn", False) & moved


def _travelled(x: View, limit: Limits) -> Bools:
    """Within the session, or against another session of the principal.

    The second only from a network that is new to the principal: a known one may be its own VPN.
    """
    known_network = known(x["known"], "known_asn", True)
    from_other_session = x["answered"] & (x["elsewhere_kmh"] > limit["kmh"]) & ~known_network
    return (x["speed_kmh"] > limit["kmh"]) | from_other_session


def _is_machine(x: View) -> Bools:
    return (x["kind"] == API_KEY) | (x["kind"] == SERVICE)


def _off_place(x: View, limit: Limits) -> Bools:
    moved = x["network_changes_1h"] > 0.5
    return _unknown_network(x, _is_machine(x) & (moved | _has_history(x, limit)))


def _has_history(x: View, limit: Limits) -> Bools:
    """Enough sessions or enough days: a key may have one session for weeks."""
    return (x["sessions_seen"] >= limit["sessions"]) | is_established(x, limit)


def _lacks_history(x: View, limit: Limits) -> Bools:
    return _is_machine(x) & ~_has_history(x, limit)


def _scripted(x: View, _: Limits) -> Bools:
    """A person's browser session is used by a script, unless a handset is involved.

    An app on a handset has its user sign in by browser and then calls with an HTTP library.
    """
    began, now = x["began_as"], x["software"]
    on_handset = (began | now) & HANDSET != 0
    program = now & ~np.uint8(HANDSET)
    script = (program == TOOL) | (program == BACKEND) | ((now == LIBRARY) & ~on_handset)
    return (x["kind"] == HUMAN) & (began & ~np.uint8(HANDSET) == BROWSER) & script


def _on_handset(x: View, _: Limits) -> Bools:
    handset = (x["software"] & HANDSET != 0) | (x["network_type"] == NETWORK_TYPE["cellular"])
    return _is_machine(x) & handset


_BY_HANDSET: Final = either(("software", HANDSET), ("network_type", NETWORK_TYPE["cellular"]))


def _replayed(x: View, _: Limits) -> Bools:
    """Not where one token has two clients by design: an API key has no client; an app has a web view in it.

    A server that calls on behalf of a person presents that person's token, from the server's network.
    """
    on_behalf = (x["kind"] == HUMAN) & (x["software"] == BACKEND)
    return x["hijacked"] & (x["kind"] != API_KEY) & ~on_behalf & ~x["returned"] & ~_is_two_of_an_app(x)


def _moved(x: View, _: Limits) -> Bools:
    """As a replayed token, where no producer names the token: so it may also be a new device in a new place."""
    return x["displaced"] & (x["kind"] == HUMAN) & ~x["returned"] & ~_is_two_of_an_app(x)


def _is_two_of_an_app(x: View) -> Bools:
    return _is_app(x["began_as"]) & _is_app(x["software"])


def _is_app(software: NDArray[Any]) -> Bools:
    """Whether it runs on a handset, uses a library of apps, or is a program that nobody knows."""
    return (software & HANDSET != 0) | (software == LIBRARY) | (software == UNKNOWN)


CLIENT: Final[tuple[Detection, ...]] = (
    Detection(
        id="network_changed",
        text="A person's session moved to a network new to that person.",
        user_text="Please confirm it is you: your connection moved to a network we do not know.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=lambda x, _: _unknown_network(x, (x["kind"] == HUMAN) & (x["network_changes_1h"] > 0.5)),
        prefilter=("answered", "network_changes_1h"),
        observed=("network_changes_1h", "changes in 1 h"),
        normal="networks used before, or that the device itself reports from by then",
        attack=("T1550.004",),
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        needs=event_fields("auth-events", "ip", "asn") + event_fields("api-calls", "ip", "asn"),
        known_false_positives=(
            "travel, a new provider, a hotspot or a VPN, on a device that does not report its network"
        ),
        clearing="Clears by a step-up, or after an hour.",
    ),
    Detection(
        id="token_replayed",
        text="The same token was presented by another client from another network.",
        user_text="Your session was used from somewhere else, so it was ended.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        is_fact=True,
        holds=_replayed,
        prefilter=("hijacked",),
        observed=("client_changes_1h", "changes in 1 h"),
        normal="one client, or one network",
        attack=("T1539", "T1550.004"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST SP 800-207 §2.1 tenet 6"),
        needs=event_fields("auth-events", "token_id", "user_agent")
        + event_fields("api-calls", "token_id", "ip", "asn", "user_agent", "ja4"),
        known_false_positives="a new browser and a new network within the same minute, without a new sign-in",
        clearing="Clears after an hour; a step-up does not clear it, because the copied token remains valid.",
    ),
    Detection(
        id="session_moved",
        text="A person's session continued with another client from another network.",
        user_text="Please confirm it is you: your session continued on another device in another place.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=_moved,
        prefilter=("displaced",),
        observed=("client_changes_1h", "changes in 1 h"),
        normal="one client, or one network",
        attack=("T1539", "T1550.004"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST SP 800-207 §2.1 tenet 6"),
        needs=event_fields("auth-events", "user_agent") + event_fields("api-calls", "ip", "asn", "user_agent", "ja4"),
        known_false_positives="a browser updated while the laptop travelled; a session shared by two devices by design",
        clearing="Clears by a step-up, or after an hour.",
    ),
    Detection(
        id="impossible_travel",
        text="Two places of this principal are too far apart for the time between them.",
        user_text="Please confirm it is you: your account was used from two distant places at once.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_travelled,
        prefilter=(either("speed_kmh", "answered"),),
        limits={"kmh": 1000.0},
        observed=("speed_kmh", "km/h"),
        normal="≤ {kmh:g} km/h",
        attack=("T1078.004", "T1550.004"),
        references=("NIST CSF 2.0 DE.AE-03",),
        needs=event_fields("auth-events", "latitude", "longitude")
        + event_fields("api-calls", "latitude", "longitude", "network_type"),
        known_false_positives="a VPN that is not labelled as one, an error in the geolocation database",
        clearing="Clears by a step-up, which lasts an hour, or an hour after the last such jump.",
    ),
    Detection(
        id="api_key_off_place",
        text="A key or service is used from a network it was never used from.",
        user_text="An API key was used from an unknown network and was disabled.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        holds=_off_place,
        prefilter=("answered",),
        learning=_lacks_history,
        limits={"sessions": 3.0, "days": 3.0},
        observed=("network_changes_1h", "changes in 1 h"),
        normal="networks used before",
        attack=("T1552.001", "T1078.004"),
        references=("NHI2:2025", "NHI7:2025"),
        needs=("api-calls.asn", "api-calls.ip"),
        known_false_positives="a new cloud region, a changed egress address",
        clearing="Clears when an analyst reports a false positive; the network is then known for the principal.",
    ),
    Detection(
        id="non_browser_client",
        text="A session that began in a browser is used by a script or tool.",
        user_text="Please confirm it is you: your session is used by a program that is no browser.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_scripted,
        prefilter=(("software", TOOL & LIBRARY), ("began_as", BROWSER)),
        observed=("client_changes_1h", "changes in 1 h"),
        normal="a browser",
        attack=("T1550.004", "T1539"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST SP 800-207 §2.1 tenet 6"),
        needs=("auth-events.user_agent", "api-calls.user_agent"),
        known_false_positives=(
            "a person's own script with their own cookie, a command-line tool that signs in by browser"
        ),
        clearing="Clears by a step-up, which lasts an hour.",
    ),
    Detection(
        id="machine_on_handset",
        text="A key or service is used from a handset or a cellular network.",
        user_text="An API key was used from a handset.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        holds=_on_handset,
        prefilter=(("kind", SERVICE & API_KEY), _BY_HANDSET),
        observed=("calls_1h", "calls in 1 h"),
        normal="a server",
        attack=("T1552.001", "T1078.004", "T1528"),
        references=("NHI2:2025", "NHI10:2025"),
        needs=("api-calls.user_agent", "api-calls.network_type"),
        known_false_positives="an API key embedded in a mobile app, a device behind a cellular router",
        clearing="Clears an hour after the last such call.",
    ),
)
