"""The attacks: a table, a row and a function each. The name of a family leads to the detection expected.

After an attack has begun its session goes on for a while, so that the delay of detection can be measured.
"""

from __future__ import annotations

from random import Random
from typing import Final

from pipeline.simulate.clients import INTRUDERS
from pipeline.simulate.device_attacks import (
    agent_without_fresh_attestation,
    device_rooted,
    malware_on_device,
    telemetry_silent_while_active,
)
from pipeline.simulate.operations import CHAIN, EXPORT, FOREIGN_TOOLS, ROLES, call
from pipeline.simulate.places import FAR, ROGUE
from pipeline.simulate.plan import MINUTE, SECOND, Change, Day, Extra, Pace, Session
from pipeline.simulate.population import identity
from pipeline.simulate.strike import (
    Family,
    at_the_desk,
    calls,
    of_a_human,
    of_kind,
    paced,
    person_of,
    settled,
)


def token_replayed(day: Day, rng: Random) -> bool:
    """A stolen cookie is used from a rented server with another client, beside its owner."""
    # Thieves look for cookies that open more doors: keys minted, agents let loose.
    found = day.pick(rng, lambda one: of_a_human(one) and (day.has_children(one) or rng.random() < 0.1))
    if found is None:
        return False
    session, at = found
    # Owner and thief show the same token: no refresh shortly before the theft and while it lasts.
    session.refreshes = [when for when in session.refreshes if not at - 9 * MINUTE < when < at + 20 * MINUTE]
    times = paced(at, rng.randint(25, 45), (5, 35), rng)
    calls(session, times, session.operations, rng, network=rng.choice(ROGUE), client=rng.choice(INTRUDERS))
    day.condemn(session, at, "token_replayed")
    return True


def impossible_travel(day: Day, rng: Random) -> bool:
    """The same session, the same browser by its looks, from another continent within minutes."""
    # Were another of the owner's sessions to begin now, it would seem to have travelled too.
    found = day.pick(rng, lambda session: of_a_human(session) and day.is_latest(session))
    if found is None:
        return False
    session, at = found
    times = paced(at, rng.randint(20, 40), (8, 40), rng)
    calls(session, times, session.operations, rng, network=rng.choice(FAR))
    day.condemn(session, at, "impossible_travel")
    return True


def mfa_fatigue(day: Day, rng: Random) -> bool:
    """Somebody with the password prompts the owner until they give in."""
    found = day.pick(rng, settled(day))
    if found is None:
        return False
    beside, at = found
    prompts = rng.randint(6, 10)
    opening: list[tuple[int, str, dict[str, object]]] = [(0, "sign_in", {"amr": ["pwd"]})]
    after = 1500
    for _ in range(prompts):
        opening += [(after, "mfa_challenged", {}), (after + 6000, "mfa_denied", {})]
        after += rng.randint(12, 25) * SECOND
    opening += [(after, "mfa_challenged", {}), (after + 9000, "mfa_passed", {"amr": ["mfa"]})]
    session = Session(
        session_id=f"s-{identity(beside.session_id, 'fatigue')}",
        tenant=beside.tenant,
        principal_id=beside.principal_id,
        kind="human",
        operations=ROLES[person_of(day).role],
        pace=Pace(10, 60, 0.1),
        start=at,
        end=at + rng.randint(16, 40) * MINUTE,
        network=rng.choice(ROGUE),
        client=rng.choice(INTRUDERS),
        opening=opening,
    )
    day.sessions.append(session)
    day.condemn(session, at, "mfa_fatigue")
    return True


def mass_read(day: Day, rng: Random) -> bool:
    """Customer data is read page after page."""
    found = day.pick(rng, of_a_human)
    if found is None:
        return False
    session, at = found
    calls(session, paced(at, rng.randint(30, 60), (4, 14), rng), (EXPORT,), rng)
    day.condemn(session, at, "mass_read")
    return True


def privilege_chain(day: Day, rng: Random) -> bool:
    """A credential is made, its rights widened, the audit switched off."""
    found = day.pick(rng, at_the_desk(day))
    if found is None:
        return False
    session, at = found
    when = at
    for operation in rng.choice(CHAIN):
        done = call(operation, rng) | {"status": 201 if operation.method == "POST" else 200}
        session.extras.append(Extra(when, "api.call", done))
        when += rng.randint(30, 150) * SECOND
    calls(session, paced(when, 12, (5, 25), rng), session.operations, rng)
    day.condemn(session, at, "privilege_chain")
    return True


def agent_tool_burst(day: Day, rng: Random) -> bool:
    """An agent, talked into it by something it read, calls tools it never used, faster than anybody reads."""
    found = day.pick(rng, of_kind("agent"), after=12 * MINUTE)
    if found is None:
        return False
    session, at = found
    times = paced(at, rng.randint(220, 420), (0.2, 0.9), rng)
    calls(session, times, session.operations + FOREIGN_TOOLS, rng)
    day.condemn(session, at, "agent_tool_burst")
    return True


def api_key_off_place(day: Day, rng: Random) -> bool:
    """A key, copied out of a repository, is used from where it never was, beside its owner."""
    found = day.pick(rng, of_kind("api_key"), before=30 * MINUTE)
    if found is None:
        return False
    session, at = found
    times = paced(at, rng.randint(25, 60), (4, 30), rng)
    calls(session, times, session.operations, rng, network=rng.choice(ROGUE))
    day.condemn(session, at, "api_key_off_place")
    return True


def network_changed_unanswered(day: Day, rng: Random) -> bool:
    """A session goes on from a network its owner never used, and nobody answers the step-up."""
    # Later than the ten minutes in which a fresh second factor still speaks for the session.
    found = day.pick(rng, settled(day), before=12 * MINUTE)
    if found is None:
        return False
    session, at = found
    city = person_of(day).city
    session.changes.append(Change(at, network=city.network(city.cafe, "wifi", rng)))
    calls(session, [at], session.operations, rng)
    day.condemn(session, at, "network_changed_unanswered")
    return True


ATTACKS: Final = (
    Family(
        "device_rooted", "the phone is jailbroken or hooked in mid-session", device_rooted, ("device_rooted",)
    ),
    Family("malware_on_device", "the device reports malware", malware_on_device, ("malware_on_device",)),
    Family(
        "telemetry_silent_while_active",
        "the device's telemetry is switched off, the calls go on",
        telemetry_silent_while_active,
        ("telemetry_silent_while_active",),
    ),
    Family(
        "agent_without_fresh_attestation",
        "an agent goes on although its handset no longer proves its health",
        agent_without_fresh_attestation,
        ("agent_without_fresh_attestation",),
    ),
    Family("token_replayed", "a stolen cookie is used beside its owner", token_replayed, ("token_replayed",)),
    Family("impossible_travel", "one session on two continents", impossible_travel, ("impossible_travel",)),
    Family("mfa_fatigue", "prompted until the owner gives in", mfa_fatigue, ("mfa_fatigue",)),
    Family("mass_read", "customer data read page after page", mass_read, ("mass_read",)),
    Family("privilege_chain", "credential, grant, audit off", privilege_chain, ("privilege_chain",)),
    Family("agent_tool_burst", "an agent runs away", agent_tool_burst, ("agent_tool_burst",)),
    Family("api_key_off_place", "a key is used from elsewhere", api_key_off_place, ("api_key_off_place",)),
    Family(
        "network_changed_unanswered",
        "a foreign network, and no answer to the step-up",
        network_changed_unanswered,
        ("network_changed", "step_up_missed"),
    ),
)
"""Every attack. What falls with the session attacked is of the family `ancestor_revoked`."""
