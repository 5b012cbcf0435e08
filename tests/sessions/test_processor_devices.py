"""The devices of a session: which hear of it and of its end, how many are remembered, which is told."""

from __future__ import annotations

import pytest

from schemas import topics
from tests.support.samples import auth, call, feedback
from tests.support.session_processor import OBSERVING, desk, others


def test_a_device_first_named_by_a_call_hears_of_its_session() -> None:
    this_desk = desk()
    this_desk.each(auth(0), call(1, device_id="phone-1"), call(2, device_id="phone-1"))

    assert [event["state"] for event in this_desk.output(topics.SESSION_BINDINGS, "phone-1")] == ["live"]


@pytest.mark.parametrize("end", ["sign_out", "idle", "revoke"])
def test_every_device_a_session_was_on_hears_of_its_end(end: str) -> None:
    this_desk = desk()
    this_desk.play(auth(0, device_id="phone-1"), auth(1, device_id="phone-2"), auth(2, device_id="phone-1"))
    this_desk.play(call(3, device_id="phone-3"))
    if end == "sign_out":
        this_desk.play(auth(5, action="sign_out", device_id="phone-3"))
    if end == "revoke":
        this_desk.play(feedback(5, verdict="confirmed_compromised"))
    this_desk.each(*others(10, 200))

    last = {
        event["device_id"]: event["state"]
        for event in this_desk.output(topics.SESSION_BINDINGS)
        if event["session_id"] == "s-1"
    }
    assert last == dict.fromkeys(("phone-1", "phone-2", "phone-3"), "ended")


def test_a_session_remembers_no_more_devices_than_it_must() -> None:
    this_desk = desk()
    this_desk.play(*(call(at / 10, device_id=f"phone-{at}") for at in range(40)))

    states = [(event["device_id"], event["state"]) for event in this_desk.output(topics.SESSION_BINDINGS)]
    assert [device for device, state in states if state == "ended"] == [f"phone-{at}" for at in range(23)]
    assert len(this_desk.scorer.risk_states[0].devices) == 16


def test_every_message_tells_the_device_of_its_moment() -> None:
    this_desk = desk(OBSERVING)
    this_desk.play(
        call(0, device_id="phone-1", records=200, sensitivity="restricted"),
        call(100, device_id="phone-2", records=200, sensitivity="restricted"),
        call(101),
    )

    assert [risk["device_id"] for risk in this_desk.output(topics.SESSION_RISK)][:2] == ["phone-1", "phone-2"]
