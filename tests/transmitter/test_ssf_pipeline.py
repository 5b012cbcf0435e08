"""From a record of the pipeline to the receiver: how fast, in which order, all types, none, and how many."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from pipeline.decisions.guard import Guard
from pipeline.decisions.policy import GuardLimits
from tests.support.ssf_endpoint import listening
from tests.support.ssf_receiver import PUSH
from tests.support.ssf_records import credential, decision, revocation
from tests.support.ssf_transmitter import transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

MINUTE_MS = 60_000


def test_K1_the_time_from_command_to_first_push_is_measured(tmp_path_factory: pytest.TempPathFactory) -> None:
    with transmitter(tmp_path_factory.mktemp("rig")) as rig, listening() as endpoint:
        rig.receiver("k1").create(delivery={"method": PUSH, "endpoint_url": endpoint.url})
        began = time.monotonic()
        rig.say(*(revocation(principal_id=f"p-{number}") for number in range(20)))
        endpoint.wait(20)
        took = time.monotonic() - began

        assert rig.measured("first_push_seconds_count") == 20
        assert 0 <= rig.measured("first_push_seconds_sum") / 20 <= took
        assert rig.measured("first_push_seconds_bucket", le="+Inf") == 20


def test_K2_what_is_about_one_person_arrives_in_the_order_it_was_said(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    people, levels = 10, ["LOW", "MEDIUM", "HIGH", "MEDIUM", "LOW", "HIGH"]
    records = [
        decision(old, new, principal_id=f"p-{person}", session_id=f"s-{person}")
        for old, new in pairwise(levels)
        for person in range(people)
    ]
    with transmitter(tmp_path_factory.mktemp("rig"), push_at_once=8) as rig, listening() as endpoint:
        receiver = rig.receiver("k2")
        receiver.create(delivery={"method": PUSH, "endpoint_url": endpoint.url})
        rig.say(*records)
        sets = [receiver.verified(pushed.text) for pushed in endpoint.wait(len(records))]

    by_key: dict[str, list[str]] = {}
    for this_set in sets:
        by_key.setdefault(this_set.claims["sub_id"]["sub"], []).append(this_set.payload["current_level"])
    assert len(by_key) == people
    assert set(map(tuple, by_key.values())) == {tuple(levels[1:])}


def test_K3_every_type_that_is_advertised_arrives(tmp_path_factory: pytest.TempPathFactory) -> None:
    with transmitter(tmp_path_factory.mktemp("rig")) as rig:
        receiver = rig.receiver("k3")
        stream = receiver.create()
        rig.say(decision("LOW", "HIGH", "device_rooted"), revocation(), credential())

        lines = [this_set.event for this_set in receiver.collect(stream, len(stream["events_delivered"]))]
        assert sorted(lines) == sorted(stream["events_delivered"])


def test_K3_an_operator_can_have_every_type_sent_to_a_stream(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig")) as rig:
        receiver = rig.receiver("k3")
        stream, other = receiver.create(), receiver.create()

        assert rig.command("rehearse", stream["stream_id"], "--principal", "ana").returncode == 0

        sets = receiver.collect(stream, len(stream["events_delivered"]))
        assert {this_set.event for this_set in sets} == set(stream["events_delivered"])
        assert {this_set.claims["sub_id"]["sub"] for this_set in sets} == {"00u-ana"}
        assert {this_set.payload["reason_admin"]["en"] for this_set in sets} == {
            "This is a rehearsal: nothing happened."
        }
        assert receiver.poll(other).json["sets"] == {}


def test_K4_a_dry_run_tells_what_it_would_send_and_sends_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), dry_run=True) as rig, listening() as endpoint:
        receiver = rig.receiver("k4")
        pushed = receiver.create(delivery={"method": PUSH, "endpoint_url": endpoint.url})
        polled = receiver.create()
        rig.say(revocation(decision_id="d-k4"))

        until("a word in the log", rig.log, lambda log: pushed["stream_id"] in log and "session-revoked" in log)
        assert receiver.poll(polled).json["sets"] == {}
        assert endpoint.pushed == []


def test_K5_no_more_sessions_of_a_tenant_end_in_a_minute_than_the_policy_allows() -> None:
    guard = Guard(GuardLimits(revocations_per_minute=3), 1.0)

    first = [guard.admit("acme", at) for at in (0, 10, 20, 30, 40)]
    others = [guard.admit("other", 50)]
    later = [guard.admit("acme", MINUTE_MS)]

    assert (first, others, later) == ([True, True, True, False, False], [True], [True])
