"""The simulator: reproducible, valid, in order; every attack leaves its mark, nothing honest does.

The marks are looked for by slow, obvious readings of what each detection means, not by the detections themselves.
"""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from math import asin, cos, radians, sin, sqrt
from typing import Any

import pytest

from models.columns import client_family
from models.operations import PRIVILEGE
from pipeline.recording import TOPIC_OF, Truth
from pipeline.rules import RULE_IDS
from pipeline.simulate import ATTACKS, EXPECTED, MONDAY_MS, ODDITIES, ORDINARY, simulate
from pipeline.simulate.places import TENANTS, TRIPS
from schemas.events import EVENT_TYPES

Event = dict[str, Any]
MINUTE = 60_000
HIDING = {"vpn", "hosting", "tor"}


@dataclass
class World:
    """Everything that was simulated, by session and by device."""

    truth: dict[str, Truth] = field(default_factory=dict)
    sessions: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    devices: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    ids: Counter[str] = field(default_factory=Counter)

    def heard(self, event: Event) -> Event | None:
        """The newest telemetry of the event's device, as of the event."""
        told = self.devices.get(event.get("device_id", ""), [])
        index = bisect_right(told, event["occurred_at"], key=lambda one: one["occurred_at"])
        return told[index - 1] if index else None

    def of_principal(self, principal_id: str) -> list[Event]:
        events = (
            one for told in self.sessions.values() for one in told if one["principal_id"] == principal_id
        )
        return sorted(events, key=lambda one: one["occurred_at"])


@pytest.fixture(scope="module")
def world() -> World:
    simulation = simulate(seed=11, hours=24, principals=40, attack_share=0.6, oddity_share=0.4)
    world = World()
    for topic, event in simulation:
        place = world.devices if topic == "device-telemetry" else world.sessions
        place[event["device_id" if topic == "device-telemetry" else "session_id"]].append(event)
        world.ids[event["event_id"]] += 1
    world.truth = {row.session_id: row for row in simulation.truth}
    return world


def _calls(told: list[Event]) -> list[Event]:
    return [event for event in told if event["type"] == "api.call"]


def _by_device(posture: Callable[[Event], bool]) -> Callable[[list[Event], World], bool]:
    return lambda told, world: any((heard := world.heard(one)) and posture(heard) for one in told)


def _silent(told: list[Event], world: World) -> bool:
    heard = ((call, world.heard(call)) for call in _calls(told))
    return any(h and c["occurred_at"] - h["occurred_at"] > 3 * h["heartbeat_interval_ms"] for c, h in heard)


def _unattested(told: list[Event], world: World) -> bool:
    heard = [(call, world.heard(call)) for call in _calls(told) if call["principal_kind"] == "agent"]
    return any(
        h is None
        or h["attestation"] in {"none", "failed"}
        or c["occurred_at"] - h["attested_at"] > 15 * MINUTE
        for c, h in heard
    )


def _unanswered_move(told: list[Event], world: World) -> bool:
    """A human moved to a network unknown to them and did not step up within five minutes."""
    if told[0]["principal_kind"] != "human":
        return False
    others = world.of_principal(told[0]["principal_id"])
    passed = [one["occurred_at"] for one in told if one.get("action") == "step_up_passed"]
    for before, after in pairwise(told):
        at = after["occurred_at"]
        if after["asn"] != before["asn"] and at + 5 * MINUTE < told[-1]["occurred_at"]:
            known = {one["asn"] for one in others if one["occurred_at"] < at}
            if after["asn"] not in known and not any(at <= when <= at + 5 * MINUTE for when in passed):
                return True
    return False


def _replayed(told: list[Event], world: World) -> bool:
    return any(
        a["token_id"] == b["token_id"]
        and a["asn"] != b["asn"]
        and client_family(a["user_agent"]) != client_family(b["user_agent"])
        for a, b in pairwise(told)
    )


def _km(a: Event, b: Event) -> float:
    lat1, lat2 = radians(a["latitude"]), radians(b["latitude"])
    angle = radians(b["longitude"] - a["longitude"])
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin(angle / 2) ** 2
    return 2 * 6371 * asin(sqrt(half))


def _too_fast(told: list[Event], world: World) -> bool:
    places = [one for one in told if one["network_type"] not in HIDING]
    if places:
        earlier = [
            one
            for one in world.of_principal(told[0]["principal_id"])
            if one["occurred_at"] < places[0]["occurred_at"] and one["network_type"] not in HIDING
        ]
        places = earlier[-1:] + places
    for a, b in pairwise(places):
        hours = max(b["occurred_at"] - a["occurred_at"], 1000) / 3_600_000
        if (a["latitude"], a["longitude"]) != (b["latitude"], b["longitude"]) and _km(a, b) > max(
            100, 1000 * hours
        ):
            return True
    return False


def _most_within(window: int, weighted: list[tuple[int, int]]) -> int:
    most = total = first = 0
    for at, weight in weighted:
        total += weight
        while weighted[first][0] <= at - window:
            total -= weighted[first][1]
            first += 1
        most = max(most, total)
    return most


def _fatigue(told: list[Event], world: World) -> bool:
    denied = [(one["occurred_at"], 1) for one in told if one.get("action") == "mfa_denied"]
    return _most_within(10 * MINUTE, denied) >= 5 and any(one.get("action") == "mfa_passed" for one in told)


def _records(told: list[Event]) -> int:
    sensitive = [one for one in _calls(told) if one["sensitivity"] in {"confidential", "restricted"}]
    return _most_within(10 * MINUTE, [(one["occurred_at"], one["records"]) for one in sensitive])


def _mass_read(told: list[Event], world: World) -> bool:
    return told[0]["principal_kind"] != "service" and _records(told) > 5000


def _chained(told: list[Event], world: World) -> bool:
    steps = [
        (one["occurred_at"], PRIVILEGE[one["operation"]])
        for one in _calls(told)
        if one["operation"] in PRIVILEGE
    ]
    return any(len({s for when, s in steps if at <= when < at + 10 * MINUTE}) >= 2 for at, _ in steps)


def _tool_burst(told: list[Event], world: World) -> bool:
    calls = [one for one in _calls(told) if "tool" in one]
    first: dict[str, int] = {}
    for one in calls:
        first.setdefault(one["tool"], one["occurred_at"])
    settled = told[0]["occurred_at"] + 5 * MINUTE
    new = sorted((at, 1) for at in first.values() if at > settled)
    return (
        _most_within(MINUTE, [(one["occurred_at"], 1) for one in calls]) > 60
        or _most_within(10 * MINUTE, new) > 3
    )


def _off_place(told: list[Event], world: World) -> bool:
    return told[0]["principal_kind"] in {"api_key", "service"} and len({one["asn"] for one in told}) > 1


MARKS: dict[str, Callable[[list[Event], World], bool]] = {
    "device_rooted": _by_device(lambda posture: bool(posture["rooted"] or posture["hooked"])),
    "malware_on_device": _by_device(lambda posture: posture["malware"] == "detected"),
    "telemetry_silent_while_active": _silent,
    "agent_without_fresh_attestation": _unattested,
    "token_replayed": _replayed,
    "impossible_travel": _too_fast,
    "mfa_fatigue": _fatigue,
    "mass_read": _mass_read,
    "privilege_chain": _chained,
    "agent_tool_burst": _tool_burst,
    "api_key_off_place": _off_place,
    "network_changed_unanswered": _unanswered_move,
}
"""How each family of attacks shows, told without the rules."""


def _bytes(**arguments: Any) -> bytes:
    simulation = simulate(**arguments)
    lines = [json.dumps([topic, event]) for topic, event in simulation]
    return "\n".join([*lines, *map(repr, simulation.truth)]).encode()


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others() -> None:
    small = {"hours": 1.5, "principals": 12, "attack_share": 1.0}

    first = _bytes(seed=3, **small)

    assert len(first) > 100_000
    assert _bytes(seed=3, **small) == first
    assert _bytes(seed=4, **small) != first


def test_every_event_is_valid_on_its_topic_and_inside_the_hours_in_order() -> None:
    previous = MONDAY_MS
    for topic, event in simulate(seed=5, hours=2, principals=40, attack_share=0.5, oddity_share=0.5):
        told = EVENT_TYPES[event["type"]].model_validate(event)

        assert TOPIC_OF[event["type"]] == topic
        assert set(event) <= set(type(told).model_fields)
        assert previous <= told.occurred_at < MONDAY_MS + 120 * MINUTE
        previous = told.occurred_at


def test_no_event_id_is_given_twice_even_to_another_run(world: World) -> None:
    elsewhen = {event["event_id"] for _, event in simulate(11, 1, 40, MONDAY_MS + 24 * 60 * MINUTE)}

    assert max(world.ids.values()) == 1
    assert elsewhen.isdisjoint(world.ids)


def test_every_session_has_one_truth_and_every_truth_a_session(world: World) -> None:
    assert set(world.truth) == set(world.sessions)
    for session_id, row in world.truth.items():
        told = world.sessions[session_id]
        assert {one["tenant"] for one in told} == {row.tenant}
        assert told[0]["occurred_at"] <= row.started_at < row.ended_at
        assert told[-1]["occurred_at"] <= row.ended_at <= MONDAY_MS + 24 * 60 * MINUTE


def test_every_family_comes_up(world: World) -> None:
    found = {(row.label, row.family) for row in world.truth.values()}

    expected = {("attack", family.name) for family in ATTACKS} | {
        ("benign", family.name) for family in ODDITIES
    }
    assert found == expected | {("attack", "ancestor_revoked"), ("benign", ORDINARY)}


def test_every_family_of_attacks_has_a_mark_and_names_detections_that_exist() -> None:
    assert set(MARKS) == {family.name for family in ATTACKS}
    assert {name for names in EXPECTED.values() for name in names} <= set(RULE_IDS)
    assert all(EXPECTED[family.name] for family in ATTACKS)
    assert not any(EXPECTED[family.name] for family in ODDITIES)


@pytest.mark.parametrize("family", MARKS)
def test_every_attack_leaves_its_mark_after_it_began_and_not_before(world: World, family: str) -> None:
    for session_id, row in world.truth.items():
        if row.family == family:
            told = world.sessions[session_id]
            assert MARKS[family](told, world), session_id
            before = [one for one in told if one["occurred_at"] < row.started_at]
            assert not (before and MARKS[family](before, world)), session_id


@pytest.mark.parametrize("family", MARKS)
def test_nothing_honest_leaves_the_mark_of_an_attack(world: World, family: str) -> None:
    honest = [world.sessions[row.session_id] for row in world.truth.values() if row.label == "benign"]

    assert [told[0]["session_id"] for told in honest if MARKS[family](told, world)] == []


def test_after_an_attack_began_its_session_goes_on(world: World) -> None:
    for row in world.truth.values():
        if row.label == "attack" and row.family not in {"ancestor_revoked", "device_rooted"}:
            later = [one for one in world.sessions[row.session_id] if one["occurred_at"] > row.started_at]
            assert len(later) >= 3, row
            assert later[-1]["occurred_at"] - row.started_at >= 5 * MINUTE, row


def test_what_was_born_of_a_fallen_session_falls(world: World) -> None:
    parents = {
        told[0]["session_id"]: one["parent_session_id"]
        for told in world.sessions.values()
        for one in told
        if one.get("parent_session_id")
    }
    for child, parent in parents.items():
        fallen, row = world.truth[parent], world.truth[child]
        if fallen.label == "attack" and row.ended_at > fallen.started_at:
            assert row.label == "attack"
            assert row.family != "ancestor_revoked" or row.started_at >= fallen.started_at


def test_the_end_of_the_month_reads_more_than_usual_but_less_than_two_thousand_records(world: World) -> None:
    read = [
        _records(world.sessions[row.session_id]) for row in world.truth.values() if row.family == "month_end"
    ]

    assert read
    assert all(400 < records < 2000 for records in read)


def test_all_kinds_of_principals_are_there_in_sensible_proportions() -> None:
    population = simulate(seed=7, principals=200).population
    agents = sum(len(person.agents) for person in population.people)
    keys = sum(len(person.keys) for person in population.people)

    assert (len(population.people), len(population.services), agents, keys) == (128, 24, 24, 24)
    assert len({person.principal_id for person in population.people}) == 128


def test_nobody_flies_faster_than_an_airliner() -> None:
    for tenant in TENANTS:
        hotel, hours = TRIPS[tenant.name]
        for city in tenant.cities:
            home = {"latitude": city.latitude, "longitude": city.longitude}
            assert _km(home, {"latitude": hotel.latitude, "longitude": hotel.longitude}) / hours < 900


def test_days_follow_each_other_and_the_weekend_is_quiet() -> None:
    humans = Counter[int]()
    for topic, event in _thinned(simulate(seed=2, hours=8 * 24, principals=8, attack_share=0.3)):
        if topic == "auth-events" and event["principal_kind"] == "human":
            humans[(event["occurred_at"] - MONDAY_MS) // (24 * 60 * MINUTE)] += 1

    assert min(humans[day] for day in (0, 1, 2, 3, 4, 7)) > 5 * max(humans[5], humans[6])


def _thinned(events: Any) -> Iterator[tuple[str, Event]]:
    return (pair for pair in events if pair[0] == "auth-events")


@pytest.mark.parametrize("wrong", [{"hours": 0}, {"principals": 0}, {"start_ms": -1}, {"attack_share": 1.5}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="hours and principals must be positive"):
        simulate(**wrong)  # type: ignore[arg-type]


def test_events_come_as_they_are_taken() -> None:
    taken = list(islice(simulate(hours=24 * 365, principals=3), 50))

    assert len(taken) == 50
