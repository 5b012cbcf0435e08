"""Every simulated attack leaves its mark, and nothing honest does.

The marks are looked for by slow, obvious readings of what a detection means, not by the detections.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from math import asin, cos, radians, sin, sqrt
from operator import itemgetter
from typing import Any

import pytest

from models.columns import client_family
from models.operations import PRIVILEGE
from pipeline.recording import Truth
from pipeline.rules import RULE_IDS
from pipeline.simulate import ATTACKS, EXPECTED, ODDITIES, ORDINARY, simulate
from pipeline.simulate.places import TENANTS, TRIPS

Event = dict[str, Any]
MINUTE = 60_000
HIDING = {"vpn", "hosting", "tor"}
by_time = itemgetter("occurred_at")


@dataclass
class World:
    """Everything that was simulated, by session, by device and by principal; in event-time order."""

    truth: dict[str, Truth] = field(default_factory=dict)
    sessions: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    devices: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    principals: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))

    def heard(self, event: Event) -> Event | None:
        """The newest telemetry of the event's device, as of the event."""
        told = self.devices.get(event.get("device_id", ""), [])
        index = bisect_right(told, event["occurred_at"], key=by_time)
        return told[index - 1] if index else None

    def of(self, family: str) -> list[list[Event]]:
        """The sessions of a family, each with all its events."""
        return [self.sessions[row.session_id] for row in self.truth.values() if row.family == family]


@pytest.fixture(scope="module")
def world() -> World:
    simulation = simulate(seed=7, hours=24, principals=60, attack_share=0.3, oddity_share=0.4)
    world = World()
    for topic, event in simulation:
        if topic == "device-telemetry":
            world.devices[event["device_id"]].append(event)
        else:
            world.sessions[event["session_id"]].append(event)
            world.principals[event["principal_id"]].append(event)
    world.truth = {row.session_id: row for row in simulation.truth}
    return world


Mark = Callable[[list[Event], World], bool]


def _calls(told: list[Event]) -> list[Event]:
    return [event for event in told if event["type"] == "api.call"]


def _on_a_device(is_bad: Callable[[Event], bool]) -> Mark:
    return lambda told, world: any((heard := world.heard(one)) and is_bad(heard) for one in told)


def _silent(told: list[Event], world: World) -> bool:
    heard = ((call, world.heard(call)) for call in _calls(told))
    return any(h and c["occurred_at"] - h["occurred_at"] > 3 * h["heartbeat_interval_ms"] for c, h in heard)


def _unattested(told: list[Event], world: World) -> bool:
    heard = ((call, world.heard(call)) for call in _calls(told) if call["principal_kind"] == "agent")
    fails = {"none", "failed"}
    return any(
        h is None or h["attestation"] in fails or c["occurred_at"] - h["attested_at"] > 15 * MINUTE
        for c, h in heard
    )


def _moved_unanswered(told: list[Event], world: World) -> bool:
    """A human moved to a network unknown to them, and did not step up within five minutes."""
    passed = [one["occurred_at"] for one in told if one.get("action") == "step_up_passed"]
    for before, after in pairwise(told):
        at = after["occurred_at"]
        if after["principal_kind"] != "human" or after["asn"] == before["asn"]:
            continue
        known = {one["asn"] for one in world.principals[after["principal_id"]] if one["occurred_at"] < at}
        waited = at + 5 * MINUTE < told[-1]["occurred_at"]
        if after["asn"] not in known and waited and not any(at < one <= at + 5 * MINUTE for one in passed):
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
        everywhere = world.principals[told[0]["principal_id"]]
        earlier = everywhere[: bisect_right(everywhere, by_time(places[0]) - 1, key=by_time)]
        places = [one for one in earlier if one["network_type"] not in HIDING][-1:] + places
    for a, b in pairwise(places):
        if (a["latitude"], a["longitude"]) != (b["latitude"], b["longitude"]):
            hours = max(b["occurred_at"] - a["occurred_at"], 1000) / 3_600_000
            if _km(a, b) > max(100, 1000 * hours):
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
    """Two steps of the chain within ten minutes are already one too many."""
    steps = [
        (one["occurred_at"], PRIVILEGE[one["operation"]])
        for one in _calls(told)
        if one["operation"] in PRIVILEGE
    ]
    return any(len({step for when, step in steps if at <= when < at + 10 * MINUTE}) >= 2 for at, _ in steps)


def _tool_burst(told: list[Event], world: World) -> bool:
    calls = [one for one in _calls(told) if "tool" in one]
    first: dict[str, int] = {}
    for one in calls:
        first.setdefault(one["tool"], one["occurred_at"])
    new = sorted((at, 1) for at in first.values() if at > told[0]["occurred_at"] + 5 * MINUTE)
    fast = _most_within(MINUTE, [(one["occurred_at"], 1) for one in calls]) > 60
    return fast or _most_within(10 * MINUTE, new) > 3


def _off_place(told: list[Event], world: World) -> bool:
    return told[0]["principal_kind"] in {"api_key", "service"} and len({one["asn"] for one in told}) > 1


MARKS: dict[str, Mark] = {
    "device_rooted": _on_a_device(lambda posture: bool(posture["rooted"] or posture["hooked"])),
    "malware_on_device": _on_a_device(lambda posture: posture["malware"] == "detected"),
    "telemetry_silent_while_active": _silent,
    "agent_without_fresh_attestation": _unattested,
    "token_replayed": _replayed,
    "impossible_travel": _too_fast,
    "mfa_fatigue": _fatigue,
    "mass_read": _mass_read,
    "privilege_chain": _chained,
    "agent_tool_burst": _tool_burst,
    "api_key_off_place": _off_place,
    "network_changed_unanswered": _moved_unanswered,
}
"""How each family of attacks shows, told without the rules."""


def test_every_family_comes_up(world: World) -> None:
    found = {(row.label, row.family) for row in world.truth.values()}

    attacks = {("attack", family.name) for family in ATTACKS} | {("attack", "ancestor_revoked")}
    assert found == attacks | {("benign", family.name) for family in ODDITIES} | {("benign", ORDINARY)}


def test_every_family_of_attacks_has_a_mark_and_names_detections_that_exist() -> None:
    assert set(MARKS) == {family.name for family in ATTACKS}
    assert {name for names in EXPECTED.values() for name in names} <= set(RULE_IDS)
    assert all(EXPECTED[family.name] for family in ATTACKS)
    assert not any(EXPECTED[family.name] for family in ODDITIES)


@pytest.mark.parametrize("family", MARKS)
def test_an_attack_leaves_its_mark_once_it_began_and_not_before(world: World, family: str) -> None:
    for told in world.of(family):
        began = world.truth[told[0]["session_id"]].started_at
        before = [one for one in told if one["occurred_at"] < began]

        assert MARKS[family](told, world), told[0]
        assert not (before and MARKS[family](before, world)), told[0]


@pytest.mark.parametrize("family", MARKS)
def test_nothing_honest_leaves_the_mark_of_an_attack(world: World, family: str) -> None:
    honest = [world.sessions[row.session_id] for row in world.truth.values() if row.label == "benign"]

    assert [told[0]["session_id"] for told in honest if MARKS[family](told, world)] == []


def test_after_an_attack_began_its_session_goes_on(world: World) -> None:
    for row in world.truth.values():
        if row.label == "attack" and row.family not in {"ancestor_revoked", "device_rooted"}:
            later = [one for one in world.sessions[row.session_id] if one["occurred_at"] > row.started_at]

            assert later[-1]["occurred_at"] - row.started_at >= 5 * MINUTE, row


def test_what_was_born_of_a_fallen_session_falls(world: World) -> None:
    born = [one for told in world.sessions.values() for one in told if one.get("parent_session_id")]
    assert born

    for event in born:
        fallen, row = world.truth[event["parent_session_id"]], world.truth[event["session_id"]]
        if fallen.label == "attack" and row.ended_at > fallen.started_at:
            assert row.label == "attack"
            assert row.family != "ancestor_revoked" or row.started_at >= fallen.started_at


def test_the_end_of_the_month_reads_more_than_usual_but_not_two_thousand_records(world: World) -> None:
    read = [_records(told) for told in world.of("month_end")]

    assert read
    assert all(400 < records < 2000 for records in read)


def test_nobody_flies_faster_than_an_airliner() -> None:
    for tenant in TENANTS:
        hotel, hours = TRIPS[tenant.name]
        there = {"latitude": hotel.latitude, "longitude": hotel.longitude}
        for city in tenant.cities:
            assert _km({"latitude": city.latitude, "longitude": city.longitude}, there) / hours < 900
