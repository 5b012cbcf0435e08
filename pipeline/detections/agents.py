"""Detections on AI agents: which tools they call, how often, and on whose behalf."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_signals import has_signal
from pipeline.detections.detection import (
    AGENT,
    BY_AGENT,
    Bools,
    Detection,
    Limits,
    View,
    either,
    is_established,
    is_modelled,
    is_not_established,
    only_where,
    role_limit,
    signal,
)


def _tool_burst(x: View, limit: Limits) -> Bools:
    calls, factor = limit["calls"], limit["factor"]

    def too_many_calls_or_tools() -> Bools:
        own_limit = np.maximum(calls, factor * x["usual_tool_calls_1m"])
        newcomer_limit = role_limit(x, "tool_calls_1m", minimum=calls, factor=factor, unmodelled=limit["newcomer"])
        too_many_calls = x["tool_calls_1m"] > np.where(is_established(x, limit), own_limit, newcomer_limit)
        tool_limit = np.where(_tools_are_unfamiliar(x, limit), limit["unfamiliar_tools"], limit["new_tools"])
        return too_many_calls | (x["new_tools_10m"] > tool_limit)

    return only_where(x["kind"] == AGENT, too_many_calls_or_tools)


def _tools_are_unfamiliar(x: View, limit: Limits) -> Bools:
    """New to the agent and unused by its peers; for a newcomer, unknown to the model of its role as well."""
    new_to_agent = is_established(x, limit) & has_signal(x["signals"], "unfamiliar_tool")
    return new_to_agent | (has_signal(x["signals"], "unheard_use") & is_modelled(x))


def _denied(x: View, limit: Limits) -> Bools:
    usual = np.where(is_established(x, limit), limit["factor"] * x["usual_denied_10m"], 0.0)
    too_many = x["denied_10m"] > np.maximum(limit["denials"], usual)
    return (x["kind"] == AGENT) & x["tool_denied"] & too_many


def _insists(x: View, limit: Limits) -> Bools:
    """A batch job of thousands of calls has its denials, so the usual of the role counts where the model knows it."""
    many = (x["kind"] == AGENT) & x["tool_denied"] & (x["denied_10m"] > limit["denials"])

    def unusual() -> Bools:
        role_usual = np.where(is_modelled(x), x["role_usual_denied_10m"], np.inf)
        usual = np.maximum(
            np.where(is_established(x, limit), x["usual_denied_10m"], 0.0),
            np.where(np.isfinite(role_usual), role_usual, 0.0),
        )
        return x["denied_10m"] > limit["factor"] * usual

    return only_where(many, unusual)


def _new_tool(x: View, limit: Limits) -> Bools:
    return (x["kind"] == AGENT) & is_established(x, limit) & has_signal(x["signals"], "unfamiliar_tool")


AGENTS: Final[tuple[Detection, ...]] = (
    Detection(
        id="agent_tool_burst",
        text="An agent calls tools in a burst, or tools it never used before.",
        user_text="Your assistant behaved unusually and was disconnected.",
        severity="HIGH",
        weight=6.0,
        hold_s=1800.0,
        cleared_by_step_up=False,
        holds=_tool_burst,
        prefilter=(BY_AGENT, either("tool_calls_1m", "new_tools_10m")),
        limits={
            "calls": 60.0,
            "newcomer": 240.0,
            "new_tools": 3.5,
            "unfamiliar_tools": 1.5,
            "days": 3.0,
            "factor": 2.0,
        },
        observed=("tool_calls_1m", "tool calls in 1 min"),
        usual_fact="usual_tool_calls_1m",
        role_usual_fact="role_usual_tool_calls_1m",
        normal=(
            "≤ {calls:g} calls or {factor:g} times the usual, of a newcomer its role's, ≤ {newcomer:g} or "
            "twice what its tenant's reach; "
            "≤ {new_tools:g} tools new to the session, ≤ {unfamiliar_tools:g} new to all"
        ),
        attack=("T1059.009", "T1078.004"),
        agent_threats=("AML.T0053", "ASI02"),
        references=("NIST CSF 2.0 DE.CM-09",),
        needs=("api-calls.tool",),
        known_false_positives="an evaluation run, a new task or tool set, the first nights of a batch job",
        clearing="Clears half an hour after the burst, if the session was not revoked.",
    ),
    Detection(
        id="agent_denied_tools",
        text="An agent goes on calling tools that it is denied.",
        user_text="Your assistant keeps trying tools it may not use.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=1800.0,
        cleared_by_step_up=False,
        holds=_denied,
        prefilter=("tool_denied", BY_AGENT),
        limits={"denials": 4.5, "days": 3.0, "factor": 2.0},
        observed=("denied_10m", "denied calls in 10 min"),
        usual_fact="usual_denied_10m",
        normal="≤ {denials:g} denials or {factor:g} times the usual",
        attack=("T1059.009", "T1078.004"),
        agent_threats=("AML.T0053", "ASI03"),
        references=("NHI5:2025",),
        needs=("api-calls.tool", "api-calls.status"),
        known_false_positives="a prompt loop, a permission removed by mistake",
        clearing="Clears half an hour after the last denial.",
    ),
    Detection(
        id="agent_insists",
        text="An agent was denied a dozen times within minutes and goes on.",
        user_text="Your assistant kept trying tools it may not use and was disconnected.",
        severity="HIGH",
        weight=6.0,
        hold_s=1800.0,
        cleared_by_step_up=False,
        holds=_insists,
        prefilter=("tool_denied", BY_AGENT),
        limits={"denials": 12.0, "days": 3.0, "factor": 3.0},
        observed=("denied_10m", "denied calls in 10 min"),
        usual_fact="usual_denied_10m",
        role_usual_fact="role_usual_denied_10m",
        normal="≤ {denials:g} denials or {factor:g} times the usual, its own or its role's",
        attack=("T1059.009", "T1078.004"),
        agent_threats=("AML.T0053", "ASI03", "ASI10"),
        references=("NHI5:2025",),
        needs=("api-calls.tool", "api-calls.status"),
        known_false_positives="a prompt loop, a permission removed by mistake",
        clearing="Clears half an hour after the last denial, if the session was not revoked.",
    ),
    Detection(
        id="agent_new_tool",
        text="An agent uses a tool that it has not used in any session before.",
        user_text="Your assistant uses a tool it has not used before.",
        severity="LOW",
        weight=1.5,
        hold_s=1800.0,
        cleared_by_step_up=False,
        holds=_new_tool,
        prefilter=(signal("unfamiliar_tool"), BY_AGENT),
        learning=lambda x, limit: (x["kind"] == AGENT) & is_not_established(x, limit),
        limits={"days": 3.0},
        observed=("days_known", "days of history without it"),
        normal="tools used before, or that others began to use",
        attack=("T1059.009", "T1078.004"),
        agent_threats=("AML.T0053", "ASI02"),
        references=("NIST CSF 2.0 DE.CM-09",),
        needs=("api-calls.tool",),
        known_false_positives="a new task, a new version of the agent",
        clearing="Clears by itself within two hours.",
    ),
    Detection(
        id="agent_for_risky_user",
        text="An agent acts for a session that is itself at risk.",
        user_text="Your assistant is watched more closely until your own session is trusted again.",
        severity="MEDIUM",
        weight=4.0,
        hold_s=0.0,
        cleared_by_step_up=False,
        holds=lambda x, _: (x["kind"] == AGENT) & has_signal(x["signals"], "parent_at_risk"),
        prefilter=(signal("parent_at_risk"), BY_AGENT),
        observed=("session_age_m", "minutes of the agent's session"),
        normal="an ancestor at LOW",
        attack=("T1078.004", "T1550.001"),
        agent_threats=("AML.T0091.000", "ASI03"),
        references=("NIST SP 800-207 §2.1 tenet 4",),
        needs=("auth-events.parent_session_id",),
        known_false_positives="whatever raised the parent session's risk by mistake",
        clearing="Clears when the parent session is at LOW again.",
    ),
)
