"""Detections: what is done in the session: data, rights, tools."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.rules.rule import AGENT, SERVICE, Holds, Limits, Rule, View, members, numbers


def _chain_steps(x: View, limit: Limits) -> NDArray[np.int64]:
    steps = ("credentials_created_10m", "rights_granted_10m", "audit_blinded_10m")
    taken: NDArray[np.int64] = np.sum([x[name] > limit["left"] for name in steps], axis=0, dtype=np.int64)
    return taken


def _tool_burst(x: View, limit: Limits) -> Holds:
    busy = (x["tool_calls_1m"] > limit["calls"]) | (x["new_tools_10m"] > limit["new_tools"])
    answer: Holds = (x["kind"] == AGENT) & busy
    return answer


def _mass_read(x: View, limit: Limits) -> Holds:
    answer: Holds = (x["kind"] != SERVICE) & (x["sensitive_records_10m"] > limit["records"])
    return answer


USAGE: Final[tuple[Rule, ...]] = (
    Rule(
        "mass_read", "Far more confidential or restricted records were read than people read.",
        "An unusual amount of sensitive data was read, so the session was ended.",
        "HIGH", 6.0, 1800.0, False, ("T1530", "T1213"),
        _mass_read, ("sensitive_records_10m", "records in 10 min"), "≤ {records:g} records",
        "a migration, an export that was agreed", numbers(records=5000.0),
        needs=members("api-calls", "records", "sensitivity"),
        references=("NIST CSF 2.0 DE.CM-03",),
        clearing="Counts for half an hour; proving a factor does not clear it.",
    ),
    Rule(
        "privilege_chain",
        "A credential was made, rights were widened and audit was switched off, in minutes.",
        "Administrative rights were changed in an unsafe way, so the session was ended.",
        "HIGH", 6.0, 3600.0, False, ("T1098.001", "T1098.003", "T1562.008"),
        lambda x, limit: _chain_steps(x, limit) >= 3,
        ("audit_blinded_10m", "audit changes in 10 min"), "never all three", "infrastructure as code",
        numbers(left=0.25),
        needs=members("api-calls", "operation", "status"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST CSF 2.0 PR.AA-05"),
        clearing="Counts for an hour; proving a factor does not clear it.",
    ),
    Rule(
        "privilege_widened", "Two steps of the privilege chain within minutes: credential, rights, audit.",
        "Please confirm it is you: administrative rights were changed.",
        "MEDIUM", 4.0, 1800.0, True, ("T1098.001", "T1098.003"),
        lambda x, limit: _chain_steps(x, limit) == 2,
        ("rights_granted_10m", "grants in 10 min"), "one step at a time",
        "infrastructure as code, onboarding", numbers(left=0.25),
        needs=members("api-calls", "operation", "status"),
        references=("NIST CSF 2.0 DE.CM-03", "NIST CSF 2.0 PR.AA-05"),
        clearing="Cleared by proving a factor; else it counts for half an hour.",
    ),
    Rule(
        "agent_tool_burst", "An agent calls tools in a burst, or tools it never used before.",
        "Your assistant behaved unusually and was disconnected.",
        "HIGH", 6.0, 1800.0, False, ("T1059.009", "T1078.004"),
        _tool_burst, ("tool_calls_1m", "tool calls in 1 min"), "≤ {calls:g} calls, ≤ {new_tools:g} new tools",
        "an evaluation run, a new task", numbers(calls=60.0, new_tools=3.5),
        needs=members("api-calls", "tool", "principal_kind"),
        references=("NIST CSF 2.0 DE.CM-03",),
        clearing="Counts for half an hour; an agent cannot prove a factor.",
    ),
)  # fmt: skip
