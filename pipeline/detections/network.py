"""Detections on the session's network: attacks on others seen there, anonymisers, and workloads away from home."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_columns import ATTESTATION
from models.events.context_signals import has_signal
from models.features.table import HOUR, MINUTE
from models.updates.context import known
from pipeline.detections.detection import (
    HUMAN,
    Bools,
    Detection,
    Limits,
    View,
    authenticated,
    signal,
)

_TELEMETRY_DELAY_MS: Final = 10_000
"""How long after a sign-in the first telemetry of its device may take to arrive."""
_HARDWARE_ATTESTATION: Final = (ATTESTATION["device"], ATTESTATION["strong"])
_FRESH_ATTESTATION_MS: Final = HOUR
"""How old the attestation of a device may be for a sign-in on it to count as proven."""
_NETWORK_CHANGES: Final = ("network_changes_1h", "changes in 1 h")
_OTHER_PRINCIPALS: Final = ("network_principals", "other principals")
_SIGN_IN_FIELDS: Final = ("auth-events.ip", "auth-events.principal_id")


def _on_network_of_newcomers(x: View, limit: Limits) -> Bools:
    """A person with a history arrived, together with others, through a network that none of them used before."""
    has_history = (x["kind"] == HUMAN) & (x["sessions_seen"] >= limit["sessions"])
    return has_signal(x["signals"], "network_of_newcomers") & has_history


def _soon_after_sign_in(x: View, limit: Limits) -> Bools:
    return x["session_age"] <= limit["minutes"] * MINUTE


def _through_proxy(x: View, limit: Limits) -> Bools:
    """Soon after the sign-in: a network that is new later on says nothing about the one that was signed in from."""
    unknown = known(x["known"], "known_asn", False) & ~_on_own_device(x) & ~_telemetry_pending(x)
    return _on_network_of_newcomers(x, limit) & unknown & _soon_after_sign_in(x, limit)


def _on_own_device(x: View) -> Bools:
    """The person's known device, or an attested one; a relayed sign-in can show neither."""
    proven = np.isin(x["attestation"], _HARDWARE_ATTESTATION) & (x["attestation_age"] <= _FRESH_ATTESTATION_MS)
    return x["bound"] & (known(x["known"], "known_device", True) | proven)


def _taken_over(x: View, limit: Limits) -> Bools:
    return _on_network_of_newcomers(x, limit) & (x["client_changes_1h"] > 0.5) & _soon_after_sign_in(x, limit)


def _anonymised(x: View, limit: Limits) -> Bools:
    """At sign-in only: a session that moves behind an anonymiser later has changed its network."""
    stayed = (x["network_changes_1h"] < 0.5) & authenticated(x)
    return has_signal(x["signals"], "new_anonymiser") & stayed & ~_lacks_history(x, limit)


def _lacks_history(x: View, limit: Limits) -> Bools:
    return (x["kind"] == HUMAN) & (x["sessions_seen"] < limit["sessions"])


def _telemetry_pending(x: View) -> Bools:
    """The device may send telemetry, but its first report has not arrived yet."""
    return x["bound"] & (x["heard_at"] == 0) & (x["session_age"] <= _TELEMETRY_DELAY_MS)


NETWORK: Final[tuple[Detection, ...]] = (
    Detection(
        id="password_spray",
        text="Many principals failed to sign in from a network, then this one succeeded.",
        user_text="Please confirm it is you: many accounts were attacked from where you signed in.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        signal="sprayed_network",
        observed=_OTHER_PRINCIPALS,
        normal="fewer failing there than twice those who are let in",
        attack=("T1110.003", "T1110.004"),
        references=("NIST CSF 2.0 DE.CM-01", "NIST CSF 2.0 PR.AA-03"),
        needs=_SIGN_IN_FIELDS,
        known_false_positives="the first hour of a new office, an outage of the identity provider",
        clearing="Clears by a step-up, which lasts an hour, or after the hour.",
    ),
    Detection(
        id="aitm_sign_in",
        text="A person signed in, with others, through a hiding network new to all of them.",
        user_text="Please confirm it is you: your sign-in came through a network that looks like a phishing site.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=_through_proxy,
        prefilter=(signal("network_of_newcomers"),),
        learning=_lacks_history,
        limits={"sessions": 1.0, "minutes": 60.0},
        observed=_OTHER_PRINCIPALS,
        normal="a network that somebody uses from day to day, or a device that is known or attested",
        attack=("T1557", "T1539"),
        references=("NIST CSF 2.0 DE.AE-03", "NIST CSF 2.0 PR.AA-03"),
        needs=(*_SIGN_IN_FIELDS, "auth-events.network_type"),
        known_false_positives=(
            "the first hour of a new company VPN on unmanaged devices, a phishing exercise that lets people in"
        ),
        clearing="Clears by a step-up with a factor that a phishing site cannot relay.",
    ),
    Detection(
        id="aitm_session_taken",
        text="A session from such a sign-in is used by another client soon after.",
        user_text="Please confirm it is you: your sign-in seems to have gone through a phishing site.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        holds=_taken_over,
        prefilter=(signal("network_of_newcomers"), "client_changes_1h"),
        learning=_lacks_history,
        limits={"sessions": 1.0, "minutes": 60.0},
        observed=("client_changes_1h", "changes in 1 h"),
        normal="one client in the first {minutes:g} minutes",
        attack=("T1557", "T1539", "T1550.004"),
        references=("NIST CSF 2.0 DE.AE-03", "NIST SP 800-207 §2.1 tenet 6"),
        needs=(*_SIGN_IN_FIELDS, "auth-events.network_type", "api-calls.user_agent"),
        known_false_positives="a new company VPN and a change of browser within the same hour",
        clearing="Clears by a step-up with a factor that a phishing site cannot relay, or after an hour.",
    ),
    Detection(
        id="anonymised_network",
        text="A person signed in through a VPN or data centre and never did before.",
        user_text="Please confirm it is you: you signed in through a VPN we have not seen you use.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        holds=_anonymised,
        prefilter=(signal("new_anonymiser"),),
        learning=_lacks_history,
        limits={"sessions": 3.0},
        observed=("sessions_seen", "sessions, none hidden"),
        normal="no VPN, no data centre, or one that the device reports from",
        attack=("T1090.003",),
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        needs=("auth-events.network_type",),
        known_false_positives="a new privacy relay, a new VPN, an employer's gateway",
        clearing="Clears by a step-up, or when the session leaves that network.",
    ),
    Detection(
        id="tor_network",
        text="A person came through Tor and never did before.",
        user_text="Please confirm it is you: your connection came through an anonymous network.",
        severity="MEDIUM",
        weight=5.0,
        hold_s=0.0,
        cleared_by_step_up=True,
        holds=lambda x, limit: has_signal(x["signals"], "new_tor") & authenticated(x) & ~_lacks_history(x, limit),
        prefilter=(signal("new_tor"),),
        learning=_lacks_history,
        limits={"sessions": 1.0},
        observed=("sessions_seen", "sessions, none by Tor"),
        normal="no Tor",
        attack=("T1090.003",),
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        needs=("auth-events.network_type", "api-calls.network_type"),
        known_false_positives="a person who starts to use Tor for privacy",
        clearing="Clears by a step-up, or when the session leaves Tor.",
    ),
    Detection(
        id="workload_credential_off_home",
        text="A workload's credential is used outside of the workload's network.",
        user_text="The credential of a workload was used from elsewhere and was disabled.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=False,
        signal="off_home",
        observed=_NETWORK_CHANGES,
        normal="the network that its issuer told, or that its first sessions started in",
        attack=("T1552.005", "T1078.004"),
        references=("NHI2:2025",),
        needs=("auth-events.workload", "auth-events.ip", "api-calls.ip"),
        known_false_positives="a changed egress address, a new proxy on the path, a migrated workload",
        clearing="Clears when the issuer reports the new home network, or an analyst reports a false positive.",
    ),
)
