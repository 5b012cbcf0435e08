"""Detections: what a session's network says of it: others beside it, what it hides, whether it is home."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_columns import ATTESTATION
from models.events.context_signals import has_signal
from models.updates.context import known
from pipeline.detections.detection import (
    HUMAN,
    Detection,
    Holds,
    Limits,
    View,
    authenticated,
    numbers,
    signal,
)


def _newcomer(x: View, limit: Limits) -> Holds:
    """A person with a history came with others through a network that none of them used before."""
    settled = (x["kind"] == HUMAN) & (x["sessions_seen"] >= limit["sessions"])
    answer: Holds = has_signal(x["signals"], "network_of_newcomers") & settled
    return answer


def _soon(x: View, limit: Limits) -> Holds:
    answer: Holds = x["session_age"] <= limit["minutes"] * 60_000
    return answer


def _through_a_page(x: View, limit: Limits) -> Holds:
    """Soon after the sign-in: a network that is new later says nothing of the one that was signed in from."""
    unknown = known(x["known"], "known_asn", False) & ~_on_own_device(x) & ~_unanswered(x)
    answer: Holds = _newcomer(x, limit) & unknown & _soon(x, limit)
    return answer


def _on_own_device(x: View) -> Holds:
    """A relayed sign-in has no device to show: neither the person's, nor one that proves itself."""
    proven = np.isin(x["attestation"], _BY_HARDWARE) & (x["attestation_age"] <= _FRESH_MS)
    answer: Holds = x["bound"] & (known(x["known"], "known_device", True) | proven)
    return answer


def _taken_over(x: View, limit: Limits) -> Holds:
    answer: Holds = _newcomer(x, limit) & (x["client_changes_1h"] > 0.5) & _soon(x, limit)
    return answer


def _hidden(x: View, limit: Limits) -> Holds:
    """At sign-in; a session that hides later has moved to a new network, which is a detection of its own."""
    stayed = (x["network_changes_1h"] < 0.5) & authenticated(x)
    answer: Holds = has_signal(x["signals"], "new_anonymiser") & stayed & ~_unsettled(x, limit)
    return answer


def _unsettled(x: View, limit: Limits) -> Holds:
    answer: Holds = (x["kind"] == HUMAN) & (x["sessions_seen"] < limit["sessions"])
    return answer


def _unanswered(x: View) -> Holds:
    """Its device may report, but what it says is still on its way."""
    answer: Holds = x["bound"] & (x["heard_at"] == 0) & (x["session_age"] <= _ON_ITS_WAY_MS)
    return answer


_ON_ITS_WAY_MS: Final = 10_000
"""So long after a sign-in news of its device may take."""
_BY_HARDWARE: Final = (ATTESTATION["device"], ATTESTATION["strong"])
_FRESH_MS: Final = 3_600_000
"""So old may be the proof of a device that somebody signs in on."""
_CHANGES: Final = ("network_changes_1h", "changes in 1 h")
_OTHERS: Final = ("network_principals", "other principals")
_AT_SIGN_IN: Final = ("auth-events.ip", "auth-events.principal_id")

NETWORK: Final[tuple[Detection, ...]] = (
    Detection(
        "password_spray", "Many principals failed to sign in from a network, then this one succeeded.",
        "Many accounts were attacked from where this session was signed in, so it was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1110.003", "T1110.004"),
        None, _OTHERS, "fewer failing there than twice those who are let in",
        "the first hour of a new office; a broken identity provider", signal="sprayed_network",
        needs=_AT_SIGN_IN, references=("NIST CSF 2.0 DE.CM-01", "NIST CSF 2.0 PR.AA-03"),
        clearing="A new session, signed in to from elsewhere or after the hour.",
    ),
    Detection(
        "aitm_sign_in", "A person signed in, with others, through a hiding network new to all of them.",
        "Please confirm it is you: your sign-in came through a network that looks like a phishing site.",
        "MEDIUM", 4.0, 3600.0, True, ("T1557", "T1539"),
        _through_a_page,
        _OTHERS, "a network that somebody uses from day to day, or a device that is known or attested",
        "the first hour of a new company VPN on devices not managed; an awareness test that lets people in",
        numbers(sessions=1.0, minutes=60.0),
        needs=(*_AT_SIGN_IN, "auth-events.network_type"), learning=_unsettled,
        references=("NIST CSF 2.0 DE.AE-03", "NIST CSF 2.0 PR.AA-03"),
        clearing="A factor that a phishing site cannot relay, proved anew.",
        prefilter=(signal("network_of_newcomers"),),
    ),
    Detection(
        "aitm_session_taken", "A session from such a sign-in is used by another client soon after.",
        "Your sign-in seems to have gone through a phishing site, so this session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1557", "T1539", "T1550.004"),
        _taken_over, ("client_changes_1h", "changes in 1 h"), "one client in the first {minutes:g} minutes",
        "a new company VPN and a change of browser in the same hour", numbers(sessions=1.0, minutes=60.0),
        needs=(*_AT_SIGN_IN, "auth-events.network_type", "api-calls.user_agent"), learning=_unsettled,
        references=("NIST CSF 2.0 DE.AE-03", "NIST SP 800-207 §2.1 tenet 6"),
        clearing="A new session, signed in to from a network known to the person.",
        prefilter=(signal("network_of_newcomers"), "client_changes_1h"),
    ),
    Detection(
        "anonymised_network", "A person signed in through a VPN or data centre and never did before.",
        "Please confirm it is you: you signed in through a VPN we have not seen you use.",
        "MEDIUM", 4.0, 0.0, True, ("T1090.003",),
        _hidden, ("sessions_seen", "sessions, none hidden"),
        "no VPN, no data centre, or one that the device reports from",
        "a new privacy relay, a new VPN, a gateway of one's employer", numbers(sessions=3.0),
        needs=("auth-events.network_type",), learning=_unsettled,
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        clearing="A factor proved again, or the session leaves that network.",
        prefilter=(signal("new_anonymiser"),),
    ),
    Detection(
        "tor_network", "A person came through Tor and never did before.",
        "Please confirm it is you: your connection came through an anonymous network.",
        "MEDIUM", 5.0, 0.0, True, ("T1090.003",),
        lambda x, limit: has_signal(x["signals"], "new_tor") & authenticated(x) & ~_unsettled(x, limit),
        ("sessions_seen", "sessions, none by Tor"), "no Tor",
        "a person who begins to use Tor for privacy", numbers(sessions=1.0),
        needs=("auth-events.network_type", "api-calls.network_type"), learning=_unsettled,
        references=("NIST CSF 2.0 DE.CM-01", "NIST SP 800-207 §2.1 tenet 4"),
        clearing="A factor proved again, or the session leaves Tor.",
        prefilter=(signal("new_tor"),),
    ),
    Detection(
        "workload_credential_off_home", "A workload's credential is used outside of the workload's network.",
        "The credential of a workload was used from elsewhere and was disabled.",
        "HIGH", 6.0, 3600.0, False, ("T1552.005", "T1078.004"),
        None, _CHANGES, "the network that its issuer told, or that its first sessions started in",
        "a changed egress address, a proxy on the way, a workload that was moved", signal="off_home",
        needs=("auth-events.workload", "auth-events.ip", "api-calls.ip"),
        references=("NHI2:2025",),
        clearing="The issuer tells the new home, or an analyst reports a false positive.",
    ),
)  # fmt: skip
