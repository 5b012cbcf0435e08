"""Detections on data and rights: how much sensitive data a session reads, and which rights and audit it changes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events.context_signals import has_signal
from models.events.operations import Stage
from pipeline.detections.detection import (
    SERVICE,
    Bools,
    Detection,
    Limits,
    View,
    either,
    event_fields,
    is_established,
    is_modelled,
    is_not_established,
    only_where,
    role_limit,
)


def _chain_steps(x: View, limit: Limits) -> NDArray[np.int64]:
    """How many of the three steps of a privilege chain were taken lately, 0 to 3."""
    steps = ("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m")
    taken: NDArray[np.int64] = np.sum([x[name] > limit["min_count"] for name in steps], axis=0, dtype=np.int64)
    return taken


def _chain(x: View, limit: Limits) -> Bools:
    return (_chain_steps(x, limit) >= 3) & ~has_signal(x["signals"], "chains_usual")


def _widened(x: View, limit: Limits) -> Bools:
    """Two steps of the chain, or all three for a principal whose regular work they are."""
    min_steps = np.where(has_signal(x["signals"], "chains_usual"), 3, 2)
    return (_chain_steps(x, limit) >= min_steps) & ~_chain(x, limit)


def _blinded(x: View, limit: Limits) -> Bools:
    """Audit alone: with more steps of the chain, the detections of the chain report it."""
    blinded = (x["audit_blinded_10m"] > limit["min_count"]) & ~has_signal(x["signals"], "blinding_usual")
    return only_where(blinded, lambda: ~_chain(x, limit) & ~_widened(x, limit))


def _let_outside(x: View, limit: Limits) -> Bools:
    shared = (x["stage"] == Stage.EXPOSE) & ~has_signal(x["signals"], "sharing_usual")
    return only_where(shared, lambda: ~_chain(x, limit) & ~_widened(x, limit))


def _secrets(x: View, limit: Limits) -> Bools:
    """Number of different secrets requested: resources touched, times what a list call usually returns."""
    requesting = x["stage"] >= Stage.SECRET

    def too_many() -> Bools:
        calls = x["sensitive_calls_10m"]
        records_per_call = np.maximum(x["sensitive_records_10m"] / np.maximum(calls, 1.0), 1.0)
        resources = np.minimum(calls, x["new_resources_10m"])
        requested = np.where(x["stage"] == Stage.SECRET_LIST, resources * records_per_call, resources)
        usual = np.where(is_established(x, limit), limit["factor"] * x["usual_sensitive_records_10m"], 0.0)
        return (requested > np.maximum(limit["secrets"], usual)) & ~_reads_not_established(x, limit)

    return only_where(requesting, too_many)


def _mass_read(x: View, limit: Limits) -> Bools:
    """A service may read everything until its usual volume is known."""
    fact, minimum, factor = "sensitive_records_10m", limit["minimum"], limit["factor"]

    def too_many() -> Bools:
        own_limit = np.maximum(minimum, factor * x[f"usual_{fact}"])
        newcomer_limit = role_limit(x, fact, minimum=minimum, factor=factor, unmodelled=limit["records"])
        too_many = x[fact] > np.where(is_established(x, limit), own_limit, newcomer_limit)
        return too_many & ~_reads_not_established(x, limit)

    return only_where(x[fact] > min(minimum, limit["records"]), too_many)


def _drip(x: View, limit: Limits) -> Bools:
    """Not services: they read whole stores, so only their own history can show that a bulk read is unusual."""
    many = (x["sensitive_records_1h"] > limit["minimum"]) & (x["kind"] != SERVICE)

    def unlike_role_and_history() -> Bools:
        above_role = x["sensitive_records_1h"] > limit["factor"] * x["role_usual_sensitive_records_1h"]
        as_usual = is_established(x, limit) & (x["sensitive_records_10m"] <= x["usual_sensitive_records_10m"])
        return above_role & ~as_usual & is_modelled(x)

    return only_where(many, unlike_role_and_history)


def _reads_not_established(x: View, limit: Limits) -> Bools:
    return (x["kind"] == SERVICE) & is_not_established(x, limit)


USAGE: Final[tuple[Detection, ...]] = (
    Detection(
        id="mass_read",
        text="Far more confidential or restricted records were read than usual.",
        user_text="Please confirm it is you: your session read an unusual amount of sensitive data.",
        severity="HIGH",
        weight=6.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_mass_read,
        prefilter=("sensitive_records_10m",),
        learning=_reads_not_established,
        limits={"records": 5000.0, "minimum": 1000.0, "factor": 8.0, "days": 3.0},
        observed=("sensitive_records_10m", "records in 10 min"),
        usual_fact="usual_sensitive_records_10m",
        role_usual_fact="role_usual_sensitive_records_10m",
        normal=(
            "≤ {minimum:g} records or {factor:g} times the usual; of a newcomer its role's, ≤ {records:g} or twice "
            "what its tenant's reach"
        ),
        attack=("T1530", "T1213"),
        references=("NIST CSF 2.0 DE.CM-09",),
        needs=event_fields("api-calls", "records", "sensitivity"),
        known_false_positives="a data migration, an approved export",
        clearing="Clears by a step-up, which lasts an hour, or half an hour after the last read.",
    ),
    Detection(
        id="slow_exfiltration",
        text="More sensitive records are read in an hour than its role ever reaches.",
        user_text="Please confirm it is you: your session read unusually many sensitive records.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_drip,
        prefilter=("sensitive_records_1h",),
        limits={"minimum": 150.0, "factor": 3.0, "days": 3.0},
        observed=("sensitive_records_1h", "records in 1 h"),
        role_usual_fact="role_usual_sensitive_records_1h",
        normal="≤ {minimum:g} records or {factor:g} times what its role reaches, or what it reached before",
        attack=("T1030", "T1213"),
        references=("NIST CSF 2.0 DE.CM-09",),
        needs=event_fields("api-calls", "records", "sensitivity", "operation"),
        known_false_positives="the end of a quarter, an audit, a new duty before the model is retrained",
        clearing="Clears by a step-up, which lasts an hour, or an hour after the last read.",
    ),
    Detection(
        id="privilege_chain",
        text="A credential was made, rights were widened and audit was switched off, in minutes.",
        user_text="Please confirm it is you: administrative rights were changed and audit was switched off.",
        severity="HIGH",
        weight=6.0,
        hold_s=3600.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_chain,
        prefilter=("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m"),
        limits={"min_count": 0.25},
        observed=("audit_blinded_10m", "audit changes in 10 min"),
        normal="never all three",
        attack=("T1098.001", "T1098.003", "T1685.002"),
        references=("NIST CSF 2.0 DE.CM-03", "NHI5:2025"),
        needs=("api-calls.operation", "api-calls.status"),
        known_false_positives="infrastructure as code during its first days",
        clearing="Clears by a step-up, which lasts an hour, or an hour after the last step of the chain.",
    ),
    Detection(
        id="privilege_widened",
        text="Two steps of the privilege chain within minutes: credential, rights, audit.",
        user_text="Please confirm it is you: administrative rights were changed.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        holds=_widened,
        prefilter=(
            either("credentials_created_10m", "rights_granted_10m"),
            either("rights_granted_10m", "audit_blinded_10m"),
        ),
        limits={"min_count": 0.25},
        observed=("rights_granted_10m", "grants in 10 min"),
        normal="one step at a time",
        attack=("T1098.001", "T1098.003"),
        references=("NIST CSF 2.0 DE.CM-03",),
        needs=("api-calls.operation", "api-calls.status"),
        known_false_positives="infrastructure as code or onboarding, during their first days",
        clearing="Clears by a step-up, or half an hour after the last step.",
    ),
    Detection(
        id="audit_switched_off",
        text="The audit was switched off, narrowed or deleted, or this was tried.",
        user_text="Please confirm it is you: the audit of your organisation was changed.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        holds=_blinded,
        prefilter=("audit_blinded_10m",),
        limits={"min_count": 0.25},
        observed=("audit_blinded_10m", "audit changes in 10 min"),
        normal="none, but of whom it is regular work",
        attack=("T1685.002", "T1685", "T1666"),
        references=("NIST CSF 2.0 PR.PS-04", "NIST CSF 2.0 DE.CM-09"),
        needs=("api-calls.operation", "api-calls.status"),
        known_false_positives="an audit trail that is set up or moved, an environment that is torn down with its logs",
        clearing="Clears by a step-up, or half an hour after the last change.",
    ),
    Detection(
        id="opened_to_outside",
        text="Data or rights were opened to another account, or to everybody.",
        user_text="Please confirm it is you: something was shared outside of your organisation.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_let_outside,
        prefilter=("stage",),
        limits={"min_count": 0.25},
        observed=("rights_granted_10m", "grants in 10 min"),
        normal="none, but of whom it is regular work",
        attack=("T1537", "T1098.003", "T1686.001"),
        references=("NIST CSF 2.0 PR.AA-05", "NHI5:2025"),
        needs=("api-calls.operation", "api-calls.status", "api-calls.sensitivity"),
        known_false_positives="a supplier's role, a backup account, the first deployment of something public by design",
        clearing="Clears by a step-up, which lasts an hour, or half an hour after the last change.",
    ),
    Detection(
        id="secrets_harvested",
        text="More than ten different secrets were asked for within minutes.",
        user_text="Please confirm it is you: your session asked for many passwords or keys.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=True,
        cleared_for_s=3600.0,
        holds=_secrets,
        prefilter=("stage",),
        learning=_reads_not_established,
        limits={"secrets": 10.0, "factor": 3.0, "days": 3.0},
        observed=("sensitive_calls_10m", "sensitive calls in 10 min"),
        usual_fact="usual_sensitive_records_10m",
        normal="≤ {secrets:g} or {factor:g} times the sensitive records usual here",
        attack=("T1555.006", "T1552"),
        references=("NIST CSF 2.0 DE.CM-09", "NHI2:2025"),
        needs=event_fields("api-calls", "operation", "sensitivity", "resource"),
        known_false_positives=(
            "infrastructure as code that refreshes its state, a rotation, secrets stored among other sensitive data"
        ),
        clearing="Clears by a step-up, which lasts an hour, or half an hour after the last request.",
    ),
)
