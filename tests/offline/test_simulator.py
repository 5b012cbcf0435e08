"""The simulator: the same seed gives the same bytes, valid events in order, and ground truth for every session."""

import json
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from pipeline.offline.evaluation.foreign.labelled import number_of_events, read_world
from pipeline.offline.replay.recording import TOPIC_OF
from pipeline.offline.simulation import MONDAY_MS, ORDINARY, RUNS, SIMULATED, simulate, write_world
from schemas.events import EVENT_TYPES

pytestmark = pytest.mark.slow

HOUR = 3_600_000


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


def test_a_simulation_that_was_written_is_a_labelled_world(tmp_path: Path) -> None:
    simulation = simulate(seed=3, hours=1.5, principals=12, attack_share=1.0)

    events = write_world(simulation, tmp_path / "world", simulation)

    world = read_world(tmp_path / "world")
    attacked = {truth.session_id for truth in simulation.truth if truth.label == "attack"}
    assert number_of_events(tmp_path / "world") == events > 1_000
    assert {name for (_, name), seen in world.sessions.items() if seen.is_attacked} == attacked != set()
    assert {(seen.company, seen.first_at <= seen.last_at) for seen in world.sessions.values()} == {(SIMULATED, True)}
    assert sorted(
        (seen.tenant, seen.session_id, seen.principal_kind, seen.first_at, seen.last_at)
        for seen in world.sessions.values()
    ) == sorted(
        (seen.truth.tenant, seen.truth.session_id, seen.kind, seen.first_at, seen.last_at)
        for seen in simulation.sessions
    )


def test_every_event_is_valid_on_its_topic_in_order_and_within_the_hours() -> None:
    previous = MONDAY_MS
    for topic, event in simulate(seed=5, hours=3, principals=40, attack_share=0.5, oddity_share=0.5, noise=0):
        validated = EVENT_TYPES[event["type"]].model_validate(event)

        assert TOPIC_OF[event["type"]] == topic
        assert set(event) - {"recorded_at"} <= set(type(validated).model_fields)
        if topic != "device-telemetry":  # a device's clock may be set back
            assert previous <= validated.occurred_at < MONDAY_MS + 3 * HOUR
            previous = validated.occurred_at


def test_noise_delays_repeats_and_thins_out_events_but_makes_up_none() -> None:
    small: dict[str, Any] = {"seed": 5, "hours": 3, "principals": 30}
    clean = {event["event_id"]: event for _, event in simulate(**small, noise=0)}
    noisy = list(simulate(**small, noise=2))
    ids = Counter(event["event_id"] for _, event in noisy)
    late = incomplete = newest = 0
    for topic, event in noisy:
        EVENT_TYPES[event["type"]].model_validate(event)
        true = clean[event["event_id"]]
        if topic != "device-telemetry":
            assert event.items() <= true.items()
            assert newest - event["occurred_at"] <= 8_001
            late += newest > event["occurred_at"]
            newest = max(newest, event["occurred_at"])
        incomplete += set(event) < set(true)

    assert set(ids) == set(clean)
    assert set(ids.values()) == {1, 2}
    assert 0.002 < sum(count == 2 for count in ids.values()) / len(clean) < 0.02
    assert 0.01 < late / len(clean) < 0.06
    assert 0.005 < incomplete / len(clean) < 0.03


def test_the_clock_of_a_device_is_off_by_the_same_seconds_all_day() -> None:
    small: dict[str, Any] = {"seed": 5, "hours": 9, "principals": 10, "attack_share": 0}
    clean = {event["event_id"]: event["occurred_at"] for _, event in simulate(**small, noise=0)}
    off = defaultdict(set)
    for topic, event in simulate(**small):
        if topic == "device-telemetry":
            off[event["device_id"]].add(event["occurred_at"] - clean[event["event_id"]])

    assert all(len(skews) == 1 and abs(min(skews)) < 8_000 for skews in off.values())
    assert len(set(map(frozenset, off.values()))) > 1


@pytest.mark.parametrize("noise", [-0.1, 21])
def test_noise_that_makes_no_sense_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="noise must be between 0"):
        simulate(noise=noise)


def test_every_kind_of_event_and_of_principal_comes_up() -> None:
    events = [event for _, event in simulate(seed=5, hours=13, principals=40)]

    assert {event["type"] for event in events} == set(EVENT_TYPES)
    kinds = {event.get("principal_kind") for event in events} - {None}
    assert kinds == {"human", "service", "api_key", "agent"}


def test_no_id_is_given_twice_even_by_the_same_seed_at_another_time() -> None:
    now = [event for _, event in simulate(6, 4, 20, noise=0)]
    later = [event for _, event in simulate(6, 4, 20, MONDAY_MS + 24 * HOUR, noise=0)]

    ids = Counter(event["event_id"] for event in now + later)
    sessions = [{event.get("session_id") for event in events} - {None} for events in (now, later)]

    assert max(ids.values()) == 1
    assert sessions[0].isdisjoint(sessions[1])


def test_every_session_has_one_truth_and_every_truth_a_session() -> None:
    simulation = simulate(seed=8, hours=20, principals=30, attack_share=0.4, noise=0)
    spans: dict[str, tuple[int, int]] = {}
    for topic, event in simulation:
        if topic != "device-telemetry":
            first, _ = spans.get(event["session_id"], (event["occurred_at"], 0))
            spans[event["session_id"]] = first, event["occurred_at"]

    assert Counter(row.session_id for row in simulation.truth) == Counter(spans.keys())
    for row in simulation.truth:
        first, last = spans[row.session_id]
        assert first <= row.started_at < row.ended_at
        assert last <= row.ended_at <= MONDAY_MS + 20 * HOUR


def test_without_attacks_and_oddities_everybody_has_an_ordinary_day() -> None:
    simulation = simulate(seed=8, hours=10, principals=20, attack_share=0, oddity_share=0)
    assert sum(1 for _ in simulation) > 1000

    assert {row.label for row in simulation.truth} == {"benign"}
    assert {row.family for row in simulation.truth} <= {ORDINARY, *RUNS.values()}


def test_people_services_keys_and_agents_share_the_number_of_principals() -> None:
    population = simulate(seed=7, principals=200).population
    agents = sum(len(person.agents) for person in population.people)
    keys = sum(len(person.keys) for person in population.people)

    assert (len(population.people), len(population.services), agents, keys) == (128, 24, 24, 24)
    assert len({person.principal_id for person in population.people}) == 128


def test_days_follow_each_other_and_the_weekend_is_quiet() -> None:
    humans = Counter[int]()
    for topic, event in simulate(seed=2, hours=8 * 24, principals=24, attack_share=0.1):
        if topic == "auth-events" and event["principal_kind"] == "human":
            humans[(event["occurred_at"] - MONDAY_MS) // (24 * HOUR)] += 1

    assert min(humans[day] for day in (0, 1, 2, 3, 4, 7)) > 2 * max(humans[5], humans[6])


def test_events_are_made_only_as_they_are_taken() -> None:
    taken = list(islice(simulate(hours=24 * 365 * 100, principals=3), 50))

    assert len(taken) == 50


@pytest.mark.parametrize("wrong", [{"hours": 0}, {"principals": 0}, {"start_ms": -1}, {"attack_share": 1.5}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="hours and principals must be positive"):
        simulate(**wrong)
