"""When a device is said to comply, or not to: stories of what decisions name, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from pipeline.detections import DETECTIONS
from pipeline.transmitter.protocol import EVENTS, SecurityEvent, Subject
from pipeline.transmitter.store.database import Store
from pipeline.transmitter.tokens.builder import DecodedRecord
from pipeline.transmitter.tokens.device_compliance import FAULTS, Device, apply_decision, known, purge, remember
from tests.support.transmitter_records import T0, because, decision

MINUTE = 60_000


def story(*deliveries: DecodedRecord) -> list[str]:
    """What a device was said to be after each decision; nothing where none was said."""
    device: Device | None = None
    list_read = []
    for _, record in deliveries:
        after, news = apply_decision(record, device)
        device = after or device
        list_read.append(news[0].payload["current_status"] if news else "")
    return list_read


def at(minutes: float, *reasons: str, session: str = "s-1", **members: Any) -> DecodedRecord:
    """A decision so many minutes in."""
    when = T0 + round(minutes * MINUTE)
    fields = {"session_id": session, "decision_id": f"d-{minutes}-{session}", "occurred_at": when}
    return decision(*reasons, **{**fields, **members})


def test_a_device_whose_fault_is_named_does_not_comply_and_whose_it_is_stands_beside_it() -> None:
    rooted = because("device_rooted", observed="1 posture faults", contribution=0.0)

    _, record = decision("token_replayed", rooted)
    device, news = apply_decision(record, None)

    assert device == Device(compliant=False, changed_at=T0, txn="d-1", named_by="s-1")
    assert news == [
        SecurityEvent(
            "device-compliance-change",
            cause="d-1",
            subject=Subject("default", None, "ana", "phone-1"),
            at=T0,
            payload={
                "previous_status": "compliant",
                "current_status": "not-compliant",
                "initiating_entity": "policy",
                "reason_admin": {"en": "It is device_rooted. (device_rooted)"},
                "reason_user": {"en": "Your device no longer meets the security rules."},
                "details": "device_rooted: 1 posture faults",
            },
            txn="d-1",
        )
    ]


def test_what_is_only_observed_is_told_to_nobody_and_news_when_it_counts() -> None:
    observed, counted = at(0, "device_rooted", mode="observe"), at(1, "device_rooted")

    assert story(observed, counted, at(2, mode="observe")) == ["", "not-compliant", ""]


def test_it_is_told_once_however_many_decisions_and_sessions_name_faults() -> None:
    lines = story(at(0, "device_rooted"), at(1, "device_hooked"), at(2, "malware_on_device", session="s-2"))

    assert lines == ["not-compliant", "", ""]


def test_the_same_decision_read_again_says_the_same_again() -> None:
    assert story(at(0, "device_rooted"), at(0, "device_rooted")) == ["not-compliant", "not-compliant"]


def test_a_decision_from_before_the_change_that_comes_late_says_nothing() -> None:
    fell, healed, late = at(1, "device_rooted"), at(3), at(2, "device_rooted", session="s-2")

    assert story(fell, healed, late) == ["not-compliant", "compliant", ""]


def test_what_is_read_again_from_before_a_fault_was_named_last_does_not_make_the_device_well() -> None:
    fell, other = at(0, "device_rooted"), at(1, "device_hooked", session="s-2")
    well, still = at(2), at(3, "device_rooted")
    whole = story(fell, other, well, still)

    assert story(fell, other, well, still, well, still) == [*whole, "", ""]
    assert story(fell, other, still, well) == ["not-compliant", "", "", ""]


@pytest.mark.parametrize("turns", list(permutations(range(3))))
def test_of_decisions_of_one_moment_the_faults_count_and_read_again_in_any_order_they_say_nothing_new(
    turns: tuple[int, ...],
) -> None:
    moment = [
        at(1, "device_rooted", decision_id="d-a"),
        at(1, "device_hooked", session="s-2", decision_id="d-b"),
        at(1, decision_id="d-c"),
    ]
    device: Device | None = None
    pairs: list[tuple[str, str]] = []
    for _, record in [*(moment[turn] for turn in turns), *moment, *reversed(moment)]:
        after, news = apply_decision(record, device)
        device = after or device
        pairs += [(new.cause, new.payload["current_status"]) for new in news]

    first = next(moment[turn] for turn in turns if turn < 2)
    assert set(pairs) == {(first.record["decision_id"], "not-compliant")}


def test_a_session_that_was_well_before_another_was_counts_from_now_on_only() -> None:
    fell, late, last = at(0, "device_rooted"), at(1, session="s-2"), at(3, session="s-3")

    lines = story(fell, last, late, at(3.5, session="s-2"), at(4.5, session="s-2"))

    assert lines == ["not-compliant", "", "", "", "compliant"]


def test_the_session_that_named_the_fault_says_when_it_is_gone() -> None:
    assert story(at(0, "device_rooted"), at(1)) == ["not-compliant", "compliant"]


def test_a_session_that_has_just_begun_does_not_know_its_device_and_must_say_so_for_a_minute() -> None:
    fell = at(0, "device_rooted")

    lines = story(fell, at(1, session="s-2"), at(1.9, session="s-2"), at(2, session="s-2"))

    assert lines == ["not-compliant", "", "", "compliant"]


def test_a_fault_that_is_named_meanwhile_begins_the_minute_anew() -> None:
    lines = story(at(0, "device_rooted"), at(1, session="s-2"), at(2, "device_rooted"), at(3, session="s-2"))

    assert lines == ["not-compliant", "", "", ""]


def test_a_healthy_device_is_nothing_to_tell_and_one_that_fell_again_is() -> None:
    assert story(at(0, "token_replayed"), at(1)) == ["", ""]
    assert story(at(0, "device_rooted"), at(1), at(2, "device_rooted"))[2] == "not-compliant"


def test_faults_are_detections_that_no_factor_clears_and_that_end_with_what_they_saw() -> None:
    rules = {rule.id: rule for rule in DETECTIONS}

    assert rules.keys() >= FAULTS
    assert {(rules[name].cleared_by_step_up, rules[name].hold_s) for name in FAULTS} == {(False, 0.0)}


def test_every_status_is_one_of_caeps() -> None:
    words = EVENTS["device-compliance-change"].values or {}

    _, news = apply_decision(at(0, "device_rooted").record, None)

    assert {news[0].payload[name] in allowed for name, allowed in words.items()} == {True}


@pytest.mark.parametrize("well", [None, "s-2"])
def test_what_is_known_of_devices_is_kept_by_tenant(store: Store, well: str | None) -> None:
    device = Device(compliant=False, changed_at=T0, txn="d-1", named_by="s-1", well_session=well, well_since=7)
    other = Device(compliant=True, changed_at=T0 + 1, txn="d-2", named_by="s-2")
    with store.begin() as conn:
        remember(conn, {("acme", "phone-1"): device, ("umbrella", "phone-1"): device})
        remember(conn, {("umbrella", "phone-1"): other})

    with store.read() as conn:
        found = known(conn, [("acme", "phone-1"), ("umbrella", "phone-1"), ("acme", "phone-2")])

    assert found == {("acme", "phone-1"): device, ("umbrella", "phone-1"): other}


def test_only_devices_that_comply_since_long_ago_are_forgotten(store: Store) -> None:
    bad = Device(compliant=False, changed_at=T0, txn="d-1", named_by="s-1")
    well = replace(bad, compliant=True)
    late = replace(well, changed_at=T0 + 1)
    by_key = {("acme", "bad"): bad, ("acme", "well"): well, ("acme", "late"): late}
    with store.begin() as conn:
        remember(conn, by_key)

        assert [purge(conn, T0), purge(conn, T0 + 1), purge(conn, T0 + 1)] == [0, 1, 0]

        assert known(conn, by_key) == {("acme", "bad"): bad, ("acme", "late"): late}
