"""Two worlds without common parameters, families and intensities that can be selected, habits to learn."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from statistics import quantiles
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.offline.simulation import ATTACKS, WORLDS, Simulation, simulate
from pipeline.offline.simulation.plan import INTENSITIES
from pipeline.offline.simulation.world.population import populate, rng_for
from tests.support.simulated_worlds import world_of

pytestmark = pytest.mark.slow

IDS = ("session_id", "principal_id", "device_id", "event_id", "token_id", "asn", "ip", "tenant", "sim_id")


def _played(**asked: Any) -> tuple[Simulation, dict[str, set[Any]]]:
    """A simulation, and the values that its events show of everything by which one could be recognised."""
    simulation = simulate(**asked)
    seen: dict[str, set[Any]] = defaultdict(set)
    for _, event in simulation:
        for name in IDS:
            if event.get(name) is not None:
                seen[name].add(event[name])
    return simulation, seen


def test_the_worlds_share_no_principal_no_device_no_network_and_no_parameter_of_an_attack() -> None:
    busy: dict[str, Any] = {"seed": 7, "hours": 26, "principals": 70, "attack_share": 0.5, "oddity_share": 0}
    drawn: dict[str, defaultdict[tuple[str, str], set[Any]]] = {}
    seen = {}
    for world in WORLDS:
        drawn[world] = defaultdict(set)
        simulation, seen[world] = _played(**busy, world=world)
        for attempt in simulation.attempts:
            for name, value in attempt.drawn.items():
                drawn[world][attempt.family, name].add(value)

    both = set(drawn["train"]) & set(drawn["test"])
    assert len(both) > 40
    assert {name: drawn["train"][name] & drawn["test"][name] for name in both} == {name: set() for name in both}
    assert set(seen["train"]) == set(seen["test"]) == set(IDS)
    assert {name: seen["train"][name] & seen["test"][name] for name in IDS} == {name: set() for name in IDS}


@given(st.integers(1, 500), st.integers(0, 200), st.integers())
def test_a_number_belongs_to_one_world(least: int, width: int, seed: int) -> None:
    most = 2 * least + width  # a range over an octave has room for both
    for draw in ("whole", "real"):
        numbers = {name: getattr(world, draw)(rng_for(seed), least, most) for name, world in WORLDS.items()}

        assert numbers["train"] != numbers["test"]
        for name, number in numbers.items():
            assert least <= number <= most
            assert [own for own, world in WORLDS.items() if world.holds(number)] == [name]


def test_a_range_without_numbers_of_a_world_is_refused() -> None:
    for name, world in WORLDS.items():
        other = next(value for value in range(10, 20) if not world.holds(value))

        with pytest.raises(ValueError, match=f"is in the world {name}: widen the range"):
            world.whole(rng_for(1), other, other)
        with pytest.raises(ValueError, match=f"is in the world {name}: widen the range"):
            world.real(rng_for(1), other, other)


@pytest.mark.parametrize("world", WORLDS)
def test_every_attack_of_every_intensity_finds_its_parameters_in_either_world(world: Any) -> None:
    simulation = simulate(world=world, principals=600, attack_share=0.5, oddity_share=0)
    next(iter(simulation))  # the first event is made when the first day is planned
    struck = {(attempt.family, attempt.intensity) for attempt in simulation.attempts}

    assert struck == {(family.name, intensity) for family in ATTACKS for intensity in INTENSITIES}


def test_families_and_intensity_can_be_asked_for() -> None:
    simulation, _ = _played(
        hours=26,
        principals=40,
        attack_share=0.3,
        oddity_share=0.3,
        families=["mass_read", "roaming"],
        intensity="low",
    )

    assert {(attempt.family, attempt.intensity) for attempt in simulation.attempts} == {
        ("mass_read", "low"),
        ("roaming", None),
    }


def test_a_family_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match="no such family: mass_reed; families are device_rooted, "):
        simulate(families=["mass_reed"])


def test_over_the_days_every_intensity_has_its_turn() -> None:
    simulation, _ = _played(hours=6 * 24, principals=20, attack_share=0.2, families=["mass_read"])
    turns = Counter(attempt.intensity for attempt in simulation.attempts)

    assert set(turns) == set(INTENSITIES)
    assert max(turns.values()) - min(turns.values()) <= 1


def test_people_follow_the_habits_of_their_role() -> None:
    """What follows a list of tickets is a ticket, far more often than rng_for would have it."""
    pairs: Counter[tuple[str, str]] = Counter()
    last: dict[str, str] = {}
    for topic, event in simulate(hours=24, principals=60, attack_share=0, oddity_share=0, noise=0):
        if topic == "api-calls":
            session, operation = event["session_id"], event["operation"]
            if session in last:
                pairs[last[session], operation] += 1
            last[session] = operation

    def share(operation: str, after: str | None = None) -> float:
        of = {pair: count for pair, count in pairs.items() if after in (None, pair[0])}
        tickets = {pair: count for pair, count in of.items() if "/tickets" in pair[0]}
        return sum(count for pair, count in tickets.items() if pair[1] == operation) / sum(tickets.values())

    assert share("GET /tickets/{id}", after="GET /tickets") > 1.5 * share("GET /tickets/{id}")


def test_people_of_a_role_do_more_or_less_than_each_other() -> None:
    people = populate("any", 400, WORLDS["train"]).people
    low, _, high = quantiles([person.volume for person in people], n=4)

    assert high > 1.4 * low
    assert {person.shift.name for person in people} == {"day", "late", "night", "part_time", "weekend"}
    assert len({person.city.utc_offset for person in people}) >= 6
    assert any(person.relay for person in people)


def test_somebody_works_in_the_night_and_somebody_at_the_weekend() -> None:
    shifts = {person.shift.name: person.shift for person in populate("any", 400, WORLDS["test"]).people}

    assert shifts["night"].starts > 20
    assert {5, 6} <= shifts["weekend"].weekdays
    assert not {5, 6} & shifts["day"].weekdays


def test_a_device_that_was_updated_stays_so_on_the_days_after() -> None:
    asked: dict[str, Any] = {
        "hours": 72,
        "principals": 40,
        "attack_share": 0,
        "oddity_share": 0.2,
        "noise": 0,
    }
    by_key: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for topic, event in simulate(**asked, families=["mdm_lag"]):
        if topic == "device-telemetry":
            by_key[event["device_id"]].append((event["occurred_at"], event["os_version"]))

    written = [list(dict.fromkeys(version for _, version in sorted(pairs))) for pairs in by_key.values()]
    turns = [sum(a != b for (_, a), (_, b) in pairwise(sorted(pairs))) for pairs in by_key.values()]

    assert max(map(len, written)) == 2
    assert turns == [len(versions) - 1 for versions in written]


@pytest.mark.parametrize(
    ("family", "is_followed"),
    [("vpn_toggle", True), ("roaming", True), ("network_changed_unanswered", False), ("sim_swapped", False)],
)
def test_a_device_reports_from_where_its_owner_is_never_from_where_a_thief_is(family: str, is_followed: bool) -> None:
    asked: dict[str, Any] = {"attack_share": 0.2, "oddity_share": 0.2, "noise": 0, "intensity": "high"}
    world = world_of(simulate(3, 14, 60, **asked, families=[family]))

    followed = set()
    for events in world.of(family):
        began = {events[0]["asn"]}
        elsewhere = {event["asn"] for event in events} - began or began
        reported = {device.get("asn") for device in world.devices[events[0]["device_id"]]}
        if reported:
            followed.add(bool(elsewhere & reported))
    assert followed == {is_followed}


def test_a_workloads_credential_has_the_same_fields_wherever_it_is_used() -> None:
    family = "workload_credential_off_home"
    world = world_of(simulate(2, 14, 60, attack_share=0.3, oddity_share=0, families=[family], noise=0))
    stolen = {events[0]["principal_id"]: events[0] for events in world.of(family)}
    owned = {
        events[0]["principal_id"]: events[0]
        for name, events in world.sessions.items()
        if world.truth[name].label == "benign" and events[0]["principal_id"] in stolen
    }

    assert {_minted(event) for event in stolen.values()} == {_minted(event) for event in owned.values()}
    assert all(event.get("home_asn", event["asn"]) == event["asn"] for event in owned.values())
    assert not {event["asn"] for event in stolen.values()} & {event["asn"] for event in owned.values()}
    assert {"home_asn" in event for event in owned.values()} == {True, False}


def _minted(event: dict[str, Any]) -> tuple[Any, ...]:
    """The fields of an issued credential, and its principal."""
    return event["principal_id"], event["workload"], event.get("home_asn"), tuple(event["scopes"])
