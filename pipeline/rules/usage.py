"""Detections: what is done in the session: data and rights."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.signals import told
from pipeline.rules.rule import (
    SERVICE,
    Holds,
    Limits,
    Rule,
    View,
    among,
    either,
    explained,
    members,
    numbers,
    of_role,
    settled,
    unsettled,
)


def _chain_steps(x: View, limit: Limits) -> NDArray[np.int64]:
    steps = ("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m")
    taken: NDArray[np.int64] = np.sum([x[name] > limit["left"] for name in steps], axis=0, dtype=np.int64)
    return taken


def _chain(x: View, limit: Limits) -> Holds:
    return (_chain_steps(x, limit) >= 3) & ~told(x["signals"], "chains_usual")


def _widened(x: View, limit: Limits) -> Holds:
    """Two steps; of those whose regular work they are, only the whole chain."""
    least = np.where(told(x["signals"], "chains_usual"), 3, 2)
    return (_chain_steps(x, limit) >= least) & ~_chain(x, limit)


def _mass_read(x: View, limit: Limits) -> Holds:
    """A service may read all there is until it is known what it usually reads."""
    fact, floor, times = "sensitive_records_10m", limit["floor"], limit["times"]

    def too_many() -> Holds:
        usual = np.maximum(floor, times * x[f"usual_{fact}"])
        newcomer = of_role(x, fact, floor=floor, times=times, most=limit["records"])
        answer: Holds = x[fact] > np.where(settled(x, limit), usual, newcomer)
        return answer & ~_reads_unknown(x, limit)

    return among(x[fact] > min(floor, limit["records"]), too_many)


def _drip(x: View, limit: Limits) -> Holds:
    """Services read as much as there is; their bulk is a matter of their own history alone."""
    many = (x["sensitive_records_1h"] > limit["floor"]) & (x["kind"] != SERVICE)

    def unlike_role_and_self() -> Holds:
        role = x["sensitive_records_1h"] > limit["times"] * x["role_usual_sensitive_records_1h"]
        own = settled(x, limit) & (x["sensitive_records_10m"] <= x["usual_sensitive_records_10m"])
        answer: Holds = role & ~own & explained(x)
        return answer

    return among(many, unlike_role_and_self)


def _reads_unknown(x: View, limit: Limits) -> Holds:
    answer: Holds = (x["kind"] == SERVICE) & unsettled(x, limit)
    return answer


USAGE: Final[tuple[Rule, ...]] = (
    Rule(
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
        stirs=("sensitive_records_10m",),
    ),
    Rule(
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
        stirs=("sensitive_records_1h",),
    ),
    Rule(
        "privilege_chain",
        "A credential was made, rights were widened and audit was switched off, in minutes.",
        "Administrative rights were changed in an unsafe way, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1098.001", "T1098.003", "T1562.008"),
        _chain, ("audit_blinded_10m", "audit changes in 10 min"), "never all three",
        "infrastructure as code in its first days", numbers(left=0.25),
        needs=("api-calls.operation", "api-calls.status"),
        references=("NIST CSF 2.0 DE.CM-03", "NHI5:2025"),
        clearing="It ends an hour after the chain, if the session was not ended.",
        stirs=("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m"),
    ),
    Rule(
        "privilege_widened", "Two steps of the privilege chain within minutes: credential, rights, audit.",
        "Please confirm it is you: administrative rights were changed.",
        "MEDIUM", 4.0, 1800.0, True, ("T1098.001", "T1098.003"),
        _widened, ("rights_granted_10m", "grants in 10 min"), "one step at a time",
        "infrastructure as code, onboarding, in their first days", numbers(left=0.25),
        needs=("api-calls.operation", "api-calls.status"), references=("NIST CSF 2.0 DE.CM-03",),
        clearing="A step-up clears it; it ends half an hour after the steps.",
        stirs=(
            either("credentials_created_10m", "rights_granted_10m"),
            either("rights_granted_10m", "audit_blinded_10m"),
        ),
    ),
)  # fmt: skip
