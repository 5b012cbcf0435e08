"""Attacks through an AI agent: its handset fails attestation, or a prompt injection controls the agent."""

from __future__ import annotations

from typing import Final

from pipeline.offline.simulation.attacks.family import calls, of_kind, paced
from pipeline.offline.simulation.attacks.operations import FOREIGN_TOOLS
from pipeline.offline.simulation.plan import MINUTE, Attempt, Day, Extra, Session
from pipeline.offline.simulation.world.operations import denied

FRESH: Final = 15 * MINUTE
"""Validity of the attestation of an agent's handset."""


def agent_without_fresh_attestation(day: Day, attempt: Attempt) -> bool:
    """An agent's handset fails its attestation or stops renewing it; heartbeats continue."""
    fails = attempt.at_least("medium")
    found = day.pick(attempt.rng, of_kind("agent"), after=12 * MINUTE if fails else FRESH + 12 * MINUTE)
    if found is None:
        return False
    session, at = found
    plan = day.devices[session.device_id or ""]
    plan.unattested_from = at
    verdict = "none" if attempt.intensity == "medium" else "failed"
    plan.changes.append((at, {"attestation": verdict} if fails else {}))
    if attempt.intensity == "high":
        count, gap = attempt.whole("calls", (60, 120)), attempt.real("gap_s", (0.8, 3))
        calls(session, paced(at + MINUTE, count, gap, attempt.rng), session.operations, attempt.rng)
    day.mark_attacked(session, at if fails else at + FRESH, attempt)
    if fails:
        _mark_others_attacked(day, session, at, attempt)
    return True


def agent_tool_burst(day: Day, attempt: Attempt) -> bool:
    """An agent calls tools, including ones it never used, faster than a person can read."""
    found = _agent(day, attempt)
    if found is None:
        return False
    session, at = found
    count = attempt.whole("calls", (50, 90), (220, 420), (900, 1600))
    gap = attempt.real("gap_s", (2.5, 5), (0.3, 0.8), (0.06, 0.2))
    foreign = attempt.rng.sample(attempt.world.share(FOREIGN_TOOLS), 5)
    attempt.drawn["tool"] = str(foreign[0])
    calls(session, paced(at, count, gap, attempt.rng), session.operations + tuple(foreign), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def agent_new_tools(day: Day, attempt: Attempt) -> bool:
    """A manipulated agent uses new tools, at its usual pace."""
    found = _agent(day, attempt)
    if found is None:
        return False
    session, at = found
    number = attempt.whole("tools", (1, 2), (3, 4), (5, 6))
    foreign = attempt.rng.sample(attempt.world.share(FOREIGN_TOOLS), number)
    attempt.drawn["tool"] = str(foreign[0])
    count = attempt.whole("calls", (3, 5), (8, 16), (20, 40))
    gap = attempt.real("gap_s", (90, 180), (20, 40), (5, 15))
    calls(session, paced(at, count, gap, attempt.rng), foreign, attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def agent_denied_tools(day: Day, attempt: Attempt) -> bool:
    """An agent repeatedly tries a tool that it may not use."""
    found = _agent(day, attempt)
    if found is None:
        return False
    session, at = found
    wanted = attempt.pick("tool", FOREIGN_TOOLS)
    count = attempt.whole("tries", (4, 6), (12, 24), (60, 150))
    gap = attempt.real("gap_s", (40, 80), (8, 20), (0.5, 2))
    for when in paced(at, count, gap, attempt.rng):
        if when < session.end:
            session.extras.append(Extra(when, "api.call", denied(wanted, attempt.rng, (403,))))
    day.mark_attacked(session, at, attempt)
    return True


def agent_prompt_injected(day: Day, attempt: Attempt) -> bool:
    """A prompt injection makes an agent use its usual tools on all data in reach: only the volume is unusual."""
    found = _agent(day, attempt)
    if found is None:
        return False
    session, at = found
    widest = max(
        session.operations,
        key=lambda operation: (operation.sensitivity == "confidential", operation.records[1]),
    )
    count = attempt.whole("calls", (15, 30), (60, 110), (200, 400))
    gap = attempt.real("gap_s", (15, 30), (4, 8), (1, 2))
    calls(session, paced(at, count, gap, attempt.rng), (widest,), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def _mark_others_attacked(day: Day, agent: Session, at: int, attempt: Attempt) -> None:
    """Mark the other sessions on a handset that fails its attestation, as it cannot be trusted."""
    for session in day.sessions:
        if session is not agent and session.device_id == agent.device_id and session.end > at:
            day.mark_attacked(session, at, attempt, "attestation_downgraded")


def _agent(day: Day, attempt: Attempt) -> tuple[Session, int] | None:
    on_a_device = of_kind("agent")
    return day.pick(
        attempt.rng, lambda session: on_a_device(session) and session.device_id is not None, after=12 * MINUTE
    )
