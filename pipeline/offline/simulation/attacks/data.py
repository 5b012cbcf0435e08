"""Attacks that show only in the calls: data read, resources probed, rights widened; subject and network are usual."""

from __future__ import annotations

from pipeline.offline.simulation.attacks.family import at_the_desk, calls, of_a_human, paced
from pipeline.offline.simulation.attacks.operations import CHAINS, EXPORTS, PROBES, SENSITIVE, SINGLE
from pipeline.offline.simulation.plan import MINUTE, SECOND, Attempt, Day, Extra
from pipeline.offline.simulation.world.operations import call, denied


def mass_read(day: Day, attempt: Attempt) -> bool:
    """Customer data is read page after page."""
    found = day.pick(attempt.rng, of_a_human)
    if found is None:
        return False
    session, at = found
    count = attempt.whole("pages", (8, 14), (30, 60), (90, 200))
    gap = attempt.real("gap_s", (20, 50), (4, 14), (1, 3))
    calls(session, paced(at, count, gap, attempt.rng), (attempt.pick("export", EXPORTS),), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def slow_drip(day: Day, attempt: Attempt) -> bool:
    """The same data, a few records at a time, for as long as the session lasts."""
    found = day.pick(attempt.rng, at_the_desk(day), after=75 * MINUTE)
    if found is None:
        return False
    session, at = found
    gap = attempt.real("gap_s", (90, 200), (30, 60), (8, 20))
    count = int((session.end - at) / SECOND / gap)
    calls(session, paced(at, count, gap, attempt.rng), (attempt.pick("single", SINGLE),), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def access_probing(day: Day, attempt: Attempt) -> bool:
    """Resources are tried one after the other; access to nearly all of them is denied."""
    found = day.pick(attempt.rng, at_the_desk(day))
    if found is None:
        return False
    session, at = found
    count = attempt.whole("doors", (6, 11), (20, 40), (80, 200))
    gap = attempt.real("gap_s", (40, 80), (5, 15), (0.5, 2))
    targets = attempt.world.share(PROBES)
    attempt.drawn["first"] = str(targets[0])
    for number, when in enumerate(paced(at, count, gap, attempt.rng)):
        target = targets[number % len(targets)]
        allowed = attempt.rng.random() < 0.06
        fields = call(target, attempt.rng) if allowed else denied(target, attempt.rng, (401, 403, 403, 404))
        if when < session.end:
            session.extras.append(Extra(when, "api.call", fields))
    day.mark_attacked(session, at, attempt)
    return True


def unfamiliar_scope(day: Day, attempt: Attempt) -> bool:
    """Sensitive resources are used that the owner never used: secrets, payrolls, mail rules."""
    found = day.pick(attempt.rng, at_the_desk(day), before=25 * MINUTE)
    if found is None:
        return False
    session, at = found
    operation = attempt.pick("sensitive", SENSITIVE)
    granted = {"action": "token_exchanged", "scopes": [operation.scope]}
    session.extras.append(Extra(at, "auth.event", granted))
    count = attempt.whole("calls", (1, 2), (4, 10), (20, 60))
    gap = attempt.real("gap_s", (60, 150), (15, 40), (2, 8))
    calls(session, paced(at + 2 * SECOND, count, gap, attempt.rng), (operation,), attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True


def privilege_chain(day: Day, attempt: Attempt) -> bool:
    """A credential is created, its rights widened, and auditing switched off."""
    gap = attempt.real("gap_s", (120, 180), (30, 110), (2, 12))
    return _chain(day, attempt, gap, attempt.whole("calls", (6, 10), (11, 18), (30, 60)), room=15 * MINUTE)


def privilege_chain_slow(day: Day, attempt: Attempt) -> bool:
    """The same three steps, so far apart that a short window does not contain them."""
    minutes = attempt.real("minutes_apart", (35, 45), (22, 30), (12, 18))
    return _chain(day, attempt, minutes * 60, attempt.whole("calls", (4, 8)), room=110 * MINUTE)


def _chain(day: Day, attempt: Attempt, gap_s: float, after: int, room: int) -> bool:
    found = day.pick(attempt.rng, at_the_desk(day), after=room)
    if found is None:
        return False
    session, at = found
    when = at
    for operation in attempt.pick("chain", CHAINS):
        done = call(operation, attempt.rng) | {"status": 201 if operation.method == "POST" else 200}
        session.extras.append(Extra(when, "api.call", done))
        when += int(gap_s * attempt.rng.uniform(0.8, 1.2) * SECOND)
    calls(session, paced(when, after, 15, attempt.rng), session.operations, attempt.rng)
    day.mark_attacked(session, at, attempt)
    return True
