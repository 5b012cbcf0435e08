"""Every simulated attack leaves its traces, and nothing honest does, except known look-alikes."""

import pytest

from pipeline.detections import DETECTION_IDS
from pipeline.offline.simulation import ATTACKS, EXPECTED, ODDITIES, RUNS, simulate
from pipeline.offline.simulation.plan import INTENSITIES
from pipeline.offline.simulation.world.places import TENANTS
from tests.support.attack_oracles import BORN_IN_IT, COMPANY_WIDE, LOOKS_LIKE, MARKS
from tests.support.simulated_worlds import MINUTE, Event, World, km, records, world_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["medium", "high"])
def world(request: pytest.FixtureRequest) -> World:
    """A day in which everything happens, without noise: a mark is not a question of what got lost."""
    return world_of(simulate(2, 26, 110, attack_share=0.55, oddity_share=0, intensity=request.param, noise=0))


@pytest.fixture(scope="module")
def honest() -> World:
    """Two days in which everything strange happens, and nothing evil."""
    return world_of(simulate(1, 48, 60, attack_share=0, oddity_share=0.5, noise=0))


def test_there_are_many_families_of_attacks_and_of_honest_oddities() -> None:
    assert len({family.name for family in ATTACKS}) == len(ATTACKS) >= 20
    assert len({family.name for family in ODDITIES} | set(RUNS.values())) >= 15
    assert not {family.name for family in ATTACKS} & {family.name for family in ODDITIES}


def test_every_attack_strikes_and_everything_that_happened_has_a_family_that_is_known(world: World) -> None:
    found = {(row.label, row.family) for row in world.truth.values()}

    assert {family.name for family in ATTACKS} <= set(world.strikes)
    assert {family for _, family in found} <= set(EXPECTED)
    assert {family for label, family in found if label == "attack"} == {
        *(family.name for family in ATTACKS),
        "ancestor_revoked",
    }


def test_every_oddity_occurs_and_is_labelled_honest(honest: World) -> None:
    oddities = {family.name for family in ODDITIES}

    assert oddities <= set(honest.strikes)
    assert oddities | set(RUNS.values()) <= {row.family for row in honest.truth.values()}
    assert {row.label for row in honest.truth.values()} == {"benign"}


def test_every_family_of_attacks_has_a_mark_and_names_detections_that_exist() -> None:
    named = {name for names in EXPECTED.values() for name in names}

    assert set(MARKS) == {family.name for family in ATTACKS}
    assert named <= set(DETECTION_IDS)
    assert all(EXPECTED[family.name] for family in ATTACKS)
    assert not any(EXPECTED[family.name] for family in ODDITIES)


@pytest.mark.parametrize("family", MARKS)
def test_an_attack_leaves_its_mark_once_it_began_and_not_before(world: World, family: str) -> None:
    assert world.of(family)
    for events in world.of(family):
        began = world.truth[events[0]["session_id"]].started_at
        before = [event for event in events if event["occurred_at"] < began]

        assert MARKS[family](events, world), events[0]
        assert not (before and MARKS[family](before, world)), events[0]
        assert (family in BORN_IN_IT) <= (not before), events[0]


@pytest.mark.parametrize("family", MARKS)
def test_nothing_honest_leaves_the_mark_of_an_attack_but_what_is_known_to(honest: World, family: str) -> None:
    hit = {row.tenant for row in honest.truth.values() if family in COMPANY_WIDE.get(row.family, set())}
    looks = {
        row.family
        for row in honest.truth.values()
        if row.tenant not in hit and MARKS[family](honest.sessions[row.session_id], honest)
    }

    assert looks <= {oddity for oddity, marks in LOOKS_LIKE.items() if family in marks}


@pytest.mark.parametrize("family", ["malware_in_browser", "through_own_machine", "after_hours"])
def test_an_insider_shows_the_network_the_device_and_the_client_of_always(world: World, family: str) -> None:
    overrides = ("asn", "ip", "device_id", "user_agent", "ja4")
    for events in world.of(family):
        began = world.truth[events[0]["session_id"]].started_at
        shown = {tuple(event[name] for name in overrides) for event in events if event["occurred_at"] >= began}
        before = {tuple(event[name] for name in overrides) for event in events if event["occurred_at"] < began}

        assert shown <= before


def test_after_an_attack_began_its_session_goes_on(world: World) -> None:
    for row in world.truth.values():
        began_late = row.ended_at - row.started_at < 10 * MINUTE  # on a device that was attacked before
        if row.label == "attack" and row.family != "ancestor_revoked" and not began_late:
            later = [session for session in world.sessions[row.session_id] if session["occurred_at"] > row.started_at]

            assert later[-1]["occurred_at"] - row.started_at >= 5 * MINUTE, row


def test_children_of_an_attacked_session_are_attacked_with_the_same_intensity(world: World) -> None:
    children = [event for events in world.sessions.values() for event in events if event.get("parent_session_id")]
    assert children

    for event in children:
        fallen, row = world.truth[event["parent_session_id"]], world.truth[event["session_id"]]
        if fallen.label == "attack" and row.ended_at > fallen.started_at:
            assert (row.label, row.intensity) == ("attack", fallen.intensity)
            assert row.family != "ancestor_revoked" or row.started_at >= fallen.started_at


def test_what_is_honest_has_no_intensity_and_every_attack_has_one(world: World) -> None:
    for row in world.truth.values():
        assert (row.intensity in INTENSITIES) == (row.label == "attack")


def test_a_louder_attack_does_more() -> None:
    done = {}
    for intensity in INTENSITIES:
        world = world_of(simulate(2, 16, 30, attack_share=0.2, families=["mass_read"], intensity=intensity, noise=0))
        done[intensity] = min(records(events) for events in world.of("mass_read"))

    assert done["low"] < done["medium"] < done["high"]


def test_the_end_of_the_month_reads_more_than_usual_but_not_two_thousand_records() -> None:
    for family, least in (("month_end", 400), ("quarter_end", 200)):
        world = world_of(simulate(4, 18, 40, attack_share=0, oddity_share=0.2, families=[family], noise=0))
        read = [records(events) for events in world.of(family)]

        assert read
        assert all(least < count < 2000 for count in read), (family, read)


def test_a_policy_reaches_every_device_of_a_company_within_the_hour() -> None:
    world = world_of(simulate(4, 24, 60, attack_share=0, oddity_share=0.02, families=["policy_rollout"], noise=0))
    hit = {row.tenant for row in world.truth.values() if row.family == "policy_rollout"}
    reports = [event for events in world.devices.values() for event in events if event["tenant"] in hit]
    begun = min(report["occurred_at"] for report in reports if _flipped(report))
    after = [report for report in reports if 60 * MINUTE <= report["occurred_at"] - begun < 120 * MINUTE]

    assert len(hit) == 1
    assert len({event["device_id"] for event in after}) >= 8
    assert all(_flipped(event) for event in after)
    assert not all(_flipped(report) for report in reports)


def _flipped(report: Event) -> bool:
    """Unmanaged although it reports, not compliant, or not encrypted."""
    return not (report["managed"] and report["compliant"] and report["encrypted"])


def test_nobody_flies_faster_than_an_airliner() -> None:
    for tenant in (*TENANTS["train"], *TENANTS["test"]):
        hotel, hours = tenant.trip
        there = {"latitude": hotel.latitude, "longitude": hotel.longitude}
        for city in tenant.cities:
            assert km({"latitude": city.latitude, "longitude": city.longitude}, there) / hours < 900
