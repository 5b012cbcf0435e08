"""Detections: what is done in the session: data and rights."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.context_signals import has_signal
from models.events.operations import Stage
from pipeline.detections.detection import (
    SERVICE,
    Detection,
    Holds,
    Limits,
    View,
    among,
    either,
    explained,
    is_established,
    is_not_established,
    members,
    numbers,
    of_role,
)


def _chain_steps(x: View, limit: Limits) -> NDArray[np.int64]:
    steps = ("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m")
    taken: NDArray[np.int64] = np.sum([x[name] > limit["left"] for name in steps], axis=0, dtype=np.int64)
    return taken


def _chain(x: View, limit: Limits) -> Holds:
    return (_chain_steps(x, limit) >= 3) & ~has_signal(x["signals"], "chains_usual")


def _widened(x: View, limit: Limits) -> Holds:
    """Two steps; of those whose regular work they are, only the whole chain."""
    least = np.where(has_signal(x["signals"], "chains_usual"), 3, 2)
    return (_chain_steps(x, limit) >= least) & ~_chain(x, limit)


def _blinded(x: View, limit: Limits) -> Holds:
    """Where more of the chain is seen, the chain speaks of it."""
    alone = (x["audit_blinded_10m"] > limit["left"]) & ~has_signal(x["signals"], "blinding_usual")
    return among(alone, lambda: alone & ~_chain(x, limit) & ~_widened(x, limit))


def _let_outside(x: View, limit: Limits) -> Holds:
    shared = (x["stage"] == Stage.EXPOSE) & ~has_signal(x["signals"], "sharing_usual")
    return among(shared, lambda: shared & ~_chain(x, limit) & ~_widened(x, limit))


def _secrets(x: View, limit: Limits) -> Holds:
    """How many different ones: things asked for; of calls with lists, times how many they usually give."""
    asking = x["stage"] >= Stage.SECRET

    def too_many() -> Holds:
        calls = x["sensitive_calls_10m"]
        each = np.maximum(x["sensitive_records_10m"] / np.maximum(calls, 1.0), 1.0)
        things = np.minimum(calls, x["new_resources_10m"])
        asked = np.where(x["stage"] == Stage.SECRET_LIST, things * each, things)
        usual = np.where(is_established(x, limit), limit["times"] * x["usual_sensitive_records_10m"], 0.0)
        answer: Holds = (asked > np.maximum(limit["secrets"], usual)) & ~_reads_unknown(x, limit)
        return answer

    return among(asking, too_many)


def _mass_read(x: View, limit: Limits) -> Holds:
    """A service may read all there is until it is known what it usually reads."""
    fact, floor, times = "sensitive_records_10m", limit["floor"], limit["times"]

    def too_many() -> Holds:
        usual = np.maximum(floor, times * x[f"usual_{fact}"])
        newcomer = of_role(x, fact, floor=floor, times=times, most=limit["records"])
        answer: Holds = x[fact] > np.where(is_established(x, limit), usual, newcomer)
        return answer & ~_reads_unknown(x, limit)

    return among(x[fact] > min(floor, limit["records"]), too_many)


def _drip(x: View, limit: Limits) -> Holds:
    """Services read as much as there is; their bulk is a matter of their own history alone."""
    many = (x["sensitive_records_1h"] > limit["floor"]) & (x["kind"] != SERVICE)

    def unlike_role_and_self() -> Holds:
        role = x["sensitive_records_1h"] > limit["times"] * x["role_usual_sensitive_records_1h"]
        own = is_established(x, limit) & (x["sensitive_records_10m"] <= x["usual_sensitive_records_10m"])
        answer: Holds = role & ~own & explained(x)
        return answer

    return among(many, unlike_role_and_self)


def _reads_unknown(x: View, limit: Limits) -> Holds:
    answer: Holds = (x["kind"] == SERVICE) & is_not_established(x, limit)
    return answer


USAGE: Final[tuple[Detection, ...]] = (
    Detection(
        "mass_read", "Far more confidential or restricted records were read than usual.",
        "An unusual amount of sensitive data was read, so the session was ended.",
        "HIGH", 6.0, 1800.0, False, ("T1530", "T1213"),
        _mass_read, ("sensitive_records_10m", "records in 10 min"),
        "≤ {floor:g} records or {times:g} times the usual; of a newcomer its role's, ≤ {records:g} or twice "
        "what its tenant's reach",
        "a migration, an export that was agreed",
        numbers(records=5000.0, floor=1000.0, times=8.0, days=3.0),
        needs=members("api-calls", "records", "sensitivity"), references=("NIST CSF 2.0 DE.CM-09",),
        clearing="It ends half an hour after the reading, if the session was not ended.",
        learning=_reads_unknown, usual="usual_sensitive_records_10m",
        role_usual="role_usual_sensitive_records_10m",
        prefilter=("sensitive_records_10m",),
    ),
    Detection(
        "slow_exfiltration", "More sensitive records are read in an hour than its role ever reaches.",
        "Please confirm it is you: your session read unusually many sensitive records.",
        "MEDIUM", 4.0, 3600.0, True, ("T1030", "T1213"),
        _drip, ("sensitive_records_1h", "records in 1 h"),
        "≤ {floor:g} records or {times:g} times what its role reaches, or what it reached before",
        "the end of a quarter, an audit, a new duty before the model is trained again",
        numbers(floor=150.0, times=3.0, days=3.0),
        needs=members("api-calls", "records", "sensitivity", "operation"),
        references=("NIST CSF 2.0 DE.CM-09",),
        clearing="A step-up clears it for an hour; it ends an hour after the reading.",
        answers_s=3600.0, role_usual="role_usual_sensitive_records_1h",
        prefilter=("sensitive_records_1h",),
    ),
    Detection(
        "privilege_chain",
        "A credential was made, rights were widened and audit was switched off, in minutes.",
        "Administrative rights were changed in an unsafe way, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1098.001", "T1098.003", "T1562.008"),
        _chain, ("audit_blinded_10m", "audit changes in 10 min"), "never all three",
        "infrastructure as code in its first days", numbers(left=0.25),
        needs=("api-calls.operation", "api-calls.status"),
        references=("NIST CSF 2.0 DE.CM-03", "NHI5:2025"),
        clearing="It ends an hour after the chain, if the session was not ended.",
        prefilter=("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m"),
    ),
    Detection(
        "privilege_widened", "Two steps of the privilege chain within minutes: credential, rights, audit.",
        "Please confirm it is you: administrative rights were changed.",
        "MEDIUM", 4.0, 1800.0, True, ("T1098.001", "T1098.003"),
        _widened, ("rights_granted_10m", "grants in 10 min"), "one step at a time",
        "infrastructure as code, onboarding, in their first days", numbers(left=0.25),
        needs=("api-calls.operation", "api-calls.status"), references=("NIST CSF 2.0 DE.CM-03",),
        clearing="A step-up clears it; it ends half an hour after the steps.",
        prefilter=(
            either("credentials_created_10m", "rights_granted_10m"),
            either("rights_granted_10m", "audit_blinded_10m"),
        ),
    ),
    Detection(
        "audit_switched_off", "The audit was switched off, narrowed or deleted, or this was tried.",
        "Please confirm it is you: the audit of your organisation was changed.",
        "MEDIUM", 4.0, 1800.0, True, ("T1562.008", "T1562.001", "T1666"),
        _blinded, ("audit_blinded_10m", "audit changes in 10 min"), "none, but of whom it is regular work",
        "a trail that is set up or moved, an environment that is torn down with its logs",
        numbers(left=0.25),
        needs=("api-calls.operation", "api-calls.status"),
        references=("NIST CSF 2.0 PR.PS-04", "NIST CSF 2.0 DE.CM-09"),
        clearing="A step-up clears it; it ends half an hour after the change is forgotten.",
        prefilter=("audit_blinded_10m",),
    ),
    Detection(
        "opened_to_outside", "Data or rights were opened to another account, or to everybody.",
        "Please confirm it is you: something was shared outside of your organisation.",
        "MEDIUM", 4.0, 1800.0, True, ("T1537", "T1098.003", "T1562.007"),
        _let_outside, ("rights_granted_10m", "grants in 10 min"), "none, but of whom it is regular work",
        "a supplier's role, a backup account, the first deployment of what is public by intent",
        needs=("api-calls.operation", "api-calls.status", "api-calls.sensitivity"),
        references=("NIST CSF 2.0 PR.AA-05", "NHI5:2025"),
        clearing="A step-up clears it for an hour; it ends half an hour after the last of it.",
        limits=numbers(left=0.25), answers_s=3600.0,
        prefilter=("stage",),
    ),
    Detection(
        "secrets_harvested", "More than ten different secrets were asked for within minutes.",
        "Please confirm it is you: your session asked for many passwords or keys.",
        "MEDIUM", 4.0, 1800.0, True, ("T1555.006", "T1552"),
        _secrets, ("sensitive_calls_10m", "sensitive calls in 10 min"),
        "≤ {secrets:g} or {times:g} times the sensitive records usual here",
        "infrastructure as code that refreshes what it knows, a rotation, secrets amid other sensitive data",
        numbers(secrets=10.0, times=3.0, days=3.0),
        needs=members("api-calls", "operation", "sensitivity", "resource"),
        references=("NIST CSF 2.0 DE.CM-09", "NHI2:2025"),
        clearing="A step-up clears it for an hour; it ends half an hour after the last secret.",
        learning=_reads_unknown, usual="usual_sensitive_records_10m",
        answers_s=3600.0,
        prefilter=("stage",),
    ),
)  # fmt: skip
