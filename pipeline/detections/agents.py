"""Detections: what AI agents do with their tools, and for whom."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.events.context_signals import has_signal
from pipeline.detections.detection import (
    AGENT,
    BY_AGENT,
    Detection,
    Holds,
    Limits,
    View,
    among,
    either,
    explained,
    is_established,
    is_not_established,
    numbers,
    of_role,
    signal,
)


def _tool_burst(x: View, limit: Limits) -> Holds:
    floor, times = limit["calls"], limit["times"]

    def busy_or_astray() -> Holds:
        most = np.maximum(floor, times * x["usual_tool_calls_1m"])
        newcomer = of_role(x, "tool_calls_1m", floor=floor, times=times, most=limit["newcomer"])
        busy = x["tool_calls_1m"] > np.where(is_established(x, limit), most, newcomer)
        new = np.where(_strange_tools(x, limit), limit["strange_tools"], limit["new_tools"])
        answer: Holds = busy | (x["new_tools_10m"] > new)
        return answer

    return among(x["kind"] == AGENT, busy_or_astray)


def _strange_tools(x: View, limit: Limits) -> Holds:
    """New to the agent, and others do not use them; of a newcomer, the model must not know one either."""
    known = is_established(x, limit) & has_signal(x["signals"], "unfamiliar_tool")
    answer: Holds = known | (has_signal(x["signals"], "unheard_use") & explained(x))
    return answer


def _denied(x: View, limit: Limits) -> Holds:
    usual = np.where(is_established(x, limit), limit["times"] * x["usual_denied_10m"], 0.0)
    again = x["denied_10m"] > np.maximum(limit["denials"], usual)
    answer: Holds = (x["kind"] == AGENT) & x["tool_denied"] & again
    return answer


def _insists(x: View, limit: Limits) -> Holds:
    """A batch of thousands has its denials: what is usual of the role counts where the model knows it."""
    many = (x["kind"] == AGENT) & x["tool_denied"] & (x["denied_10m"] > limit["denials"])

    def unusual() -> Holds:
        role = np.where(explained(x), x["role_usual_denied_10m"], np.inf)
        usual = np.maximum(
            np.where(is_established(x, limit), x["usual_denied_10m"], 0.0),
            np.where(np.isfinite(role), role, 0.0),
        )
        answer: Holds = x["denied_10m"] > limit["times"] * usual
        return answer

    return among(many, unusual)


def _new_tool(x: View, limit: Limits) -> Holds:
    answer: Holds = (x["kind"] == AGENT) & is_established(x, limit) & has_signal(x["signals"], "unfamiliar_tool")
    return answer


AGENTS: Final[tuple[Detection, ...]] = (
    Detection(
        "agent_tool_burst", "An agent calls tools in a burst, or tools it never used before.",
        "Your assistant behaved unusually and was disconnected.",
        "HIGH", 6.0, 1800.0, False, ("T1059.009", "T1078.004"),
        _tool_burst, ("tool_calls_1m", "tool calls in 1 min"),
        "≤ {calls:g} calls or {times:g} times the usual, of a newcomer its role's, ≤ {newcomer:g} or "
        "twice what its tenant's reach; "
        "≤ {new_tools:g} tools new to the session, ≤ {strange_tools:g} new to all",
        "an evaluation run, a new task or set of tools, the first nights of a batch",
        numbers(
            calls=60.0, newcomer=240.0, new_tools=3.5, strange_tools=1.5, days=3.0, times=2.0
        ),
        needs=("api-calls.tool",), references=("NIST CSF 2.0 DE.CM-09",),
        clearing="It ends half an hour after the burst, if the session was not ended.",
        usual="usual_tool_calls_1m", role_usual="role_usual_tool_calls_1m",
        prefilter=(BY_AGENT, either("tool_calls_1m", "new_tools_10m")),
    ),
    Detection(
        "agent_denied_tools", "An agent goes on calling tools that it is denied.",
        "Your assistant keeps trying tools it may not use.",
        "MEDIUM", 4.0, 1800.0, False, ("T1059.009", "T1078.004"),
        _denied, ("denied_10m", "denied calls in 10 min"),
        "≤ {denials:g} denials or {times:g} times the usual",
        "a prompt loop, a right taken away by mistake", numbers(denials=4.5, days=3.0, times=2.0),
        needs=("api-calls.tool", "api-calls.status"), references=("NHI5:2025",),
        clearing="It ends half an hour after the last denial.", usual="usual_denied_10m",
        prefilter=("tool_denied", BY_AGENT),
    ),
    Detection(
        "agent_insists", "An agent was denied a dozen times within minutes and goes on.",
        "Your assistant kept trying tools it may not use and was disconnected.",
        "HIGH", 6.0, 1800.0, False, ("T1059.009", "T1078.004"),
        _insists, ("denied_10m", "denied calls in 10 min"),
        "≤ {denials:g} denials or {times:g} times the usual, its own or its role's",
        "a prompt loop, a right taken away by mistake", numbers(denials=12.0, days=3.0, times=3.0),
        needs=("api-calls.tool", "api-calls.status"), references=("NHI5:2025",),
        clearing="It ends half an hour after the last denial, if the session was not ended.",
        usual="usual_denied_10m", role_usual="role_usual_denied_10m",
        prefilter=("tool_denied", BY_AGENT),
    ),
    Detection(
        "agent_new_tool", "An agent uses a tool that it has not used in any session before.",
        "Your assistant uses a tool it has not used before.",
        "LOW", 1.5, 1800.0, False, ("T1059.009", "T1078.004"),
        _new_tool, ("days_known", "days of history without it"),
        "tools used before, or that others began to use",
        "a new task, a new version of the agent", numbers(days=3.0),
        needs=("api-calls.tool",), references=("NIST CSF 2.0 DE.CM-09",),
        clearing="It ends by itself within two hours.",
        learning=lambda x, limit: (x["kind"] == AGENT) & is_not_established(x, limit),
        prefilter=(signal("unfamiliar_tool"), BY_AGENT),
    ),
    Detection(
        "agent_for_risky_user", "An agent acts for a session that is itself at risk.",
        "Your assistant is watched more closely until your own session is trusted again.",
        "MEDIUM", 4.0, 0.0, False, ("T1078.004", "T1550.001"),
        lambda x, _: (x["kind"] == AGENT) & has_signal(x["signals"], "parent_at_risk"),
        ("session_age_m", "minutes of the agent's session"), "an ancestor at LOW",
        "whatever raised the risk of the session above falsely",
        needs=("auth-events.parent_session_id",), references=("NIST SP 800-207 §2.1 tenet 4",),
        clearing="It ends when the session it was born from is at LOW again.",
        prefilter=(signal("parent_at_risk"), BY_AGENT),
    ),
)  # fmt: skip
