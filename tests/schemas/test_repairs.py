"""Repairs of events that are wrong only in optional fields; nobody gains by sending a wrong one."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import decode_chunk, encode
from schemas.decoded import Decoded, Rejected, Repaired
from schemas.events import ApiCall, AuthEvent, DeviceTelemetry, Event
from schemas.topics import API_CALLS, AUTH_EVENTS, DEVICE_TELEMETRY, SESSION_RISK
from tests.support.histories import CAFE, HOME
from tests.support.repairs import repair
from tests.support.run_processors import Desk
from tests.support.samples import auth, call

NOW = 1_795_501_800_000
WHO = {"event_id": "e-1", "occurred_at": NOW, "tenant": "acme"}
SESSION = {"session_id": "s-1", "principal_id": "u-1", "principal_kind": "human"}
SMALL: dict[str, dict[str, Any]] = {
    API_CALLS: {"type": "api.call", **WHO, **SESSION, "operation": "GET /orders"},
    AUTH_EVENTS: {"type": "auth.event", **WHO, **SESSION, "action": "sign_in"},
    DEVICE_TELEMETRY: {"type": "device.telemetry", **WHO, "device_id": "d-1"},
}
MODELS: dict[str, type[Event]] = {
    API_CALLS: ApiCall,
    AUTH_EVENTS: AuthEvent,
    DEVICE_TELEMETRY: DeviceTelemetry,
}


def decode(topic: str, *events: dict[str, Any]) -> Decoded[Any]:
    values = [json.dumps({**SMALL[topic], **members}).encode() for members in events]
    return decode_chunk(topic, values, None, now_ms=NOW)


def kept(topic: str, **members: Any) -> dict[str, Any]:
    """What *members* became, if the event was accepted and nothing else in it changed."""
    (event,) = decode(topic, members).events
    rest = {name: value for name, value in event.items() if name not in members}
    assert rest == {n: v for n, v in decode(topic, {}).events[0].items() if n not in members}
    return {name: event[name] for name in members}


REPAIRS = [
    (API_CALLS, "user_agent", "x" * 600, "x" * 512),
    (API_CALLS, "user_agent", 7, "7"),
    (API_CALLS, "country", "de", "DE"),
    (API_CALLS, "country", "", None),
    (API_CALLS, "country", "ß", None),
    (API_CALLS, "country", "Germany", None),
    (API_CALLS, "token_id", "", None),
    (API_CALLS, "device_id", "", None),
    (API_CALLS, "records", 3.0, 3),
    (API_CALLS, "records", 3.5, None),
    (API_CALLS, "records", -1, None),
    (API_CALLS, "records", 2**70, None),
    (API_CALLS, "records", True, None),
    (API_CALLS, "status", "200", 200),
    (API_CALLS, "status", "700", None),
    (API_CALLS, "status", "0x1f4", None),
    (API_CALLS, "status", "٢٠٠", None),
    (API_CALLS, "status", 0, None),
    (API_CALLS, "asn", "3320", 3320),
    (API_CALLS, "asn", "AS3320", None),
    (API_CALLS, "latitude", "52.5", 52.5),
    (API_CALLS, "latitude", 91.5, None),
    (API_CALLS, "latitude", "nan", None),
    (API_CALLS, "latitude", False, None),
    (API_CALLS, "network_type", "Wi-Fi", "wifi"),
    (API_CALLS, "network_type", "mobile", None),
    (API_CALLS, "sensitivity", ["restricted"], None),
    (API_CALLS, "method", "UNSUBSCRIBE-FROM-ALL", "UNSUBSCRIBE-FROM"),
    (AUTH_EVENTS, "amr", ["pwd"] * 9, ["pwd"] * 8),
    (AUTH_EVENTS, "amr", "pwd otp", ["pwd", "otp"]),
    (AUTH_EVENTS, "amr", ["pwd", "", None, {}, 7], ["pwd", "7"]),
    (AUTH_EVENTS, "amr", {"pwd": True}, None),
    (AUTH_EVENTS, "scopes", [f"s{n}" for n in range(600)], [f"s{n}" for n in range(512)]),
    (AUTH_EVENTS, "scopes", "mail.read admin:org", ["mail.read", "admin:org"]),
    (AUTH_EVENTS, "action", "Sign-In", "sign_in"),
    (AUTH_EVENTS, "action", "session_expired", "other"),
    (AUTH_EVENTS, "action", "", "other"),
    (DEVICE_TELEMETRY, "platform", "iOS", "ios"),
    (DEVICE_TELEMETRY, "platform", "chromeos", None),
    (DEVICE_TELEMETRY, "patch_level", "2025-09", None),
    (DEVICE_TELEMETRY, "heartbeat_interval_ms", 0, None),
    (DEVICE_TELEMETRY, "os_version", 18, "18"),
    (DEVICE_TELEMETRY, "os_version", 18.1, None),
    (DEVICE_TELEMETRY, "rooted", "True", True),
    (DEVICE_TELEMETRY, "rooted", 1, True),
    (DEVICE_TELEMETRY, "rooted", 0, False),
    (DEVICE_TELEMETRY, "rooted", "yes", None),
]


@pytest.mark.parametrize(("topic", "name", "value", "repaired"), REPAIRS)
def test_a_wrong_value_is_cut_read_as_meant_or_left_out(topic: str, name: str, value: Any, repaired: Any) -> None:
    assert kept(topic, **{name: value}) == {name: repaired}
    assert decode(topic, {name: value}).repaired == [Repaired(0, (name,))]


REFUSED = [
    (API_CALLS, {"occurred_at": float(NOW)}),
    (API_CALLS, {"occurred_at": str(NOW)}),
    (API_CALLS, {"event_id": "e" * 129}),
    (API_CALLS, {"event_id": 7}),
    (API_CALLS, {"session_id": "s" * 129}),
    (API_CALLS, {"principal_id": ""}),
    (API_CALLS, {"principal_kind": "Human"}),
    (API_CALLS, {"tenant": "t" * 65}),
    (API_CALLS, {"type": "API.call"}),
    (API_CALLS, {"operation": 7}),
    (API_CALLS, {"operation": ""}),
    (AUTH_EVENTS, {"action": 7}),
    (AUTH_EVENTS, {"action": None}),
    (DEVICE_TELEMETRY, {"device_id": ""}),
    (DEVICE_TELEMETRY, {"device_id": "d" * 129}),
]


@pytest.mark.parametrize(("topic", "wrong"), REFUSED)
def test_type_owner_and_time_of_an_event_are_never_guessed(topic: str, wrong: dict[str, Any]) -> None:
    decoded = decode(topic, {**wrong, "country": "de"})

    assert (decoded.events, decoded.repaired, [rejected.index for rejected in decoded.rejected]) == (
        [],
        [],
        [0],
    )


def test_names_that_are_cut_stay_distinct_from_others_with_the_same_beginning() -> None:
    head = "eyJhbGciOiJSUzI1NiJ9." * 8
    first, again, second = (kept(API_CALLS, tool=f"{head}{tail}", operation=f"GET /{head * 2}{tail}") for tail in "112")

    assert first == again
    assert all(first[name] != second[name] for name in first)
    assert [len(first["tool"]), len(first["operation"])] == [128, 256]


def test_a_caller_who_lengthens_his_user_agent_is_seen_with_another_than_the_owner() -> None:
    owners = "Mozilla/5.0 (Macintosh) Firefox/141.0"

    assert kept(API_CALLS, user_agent=owners + "x" * 600)["user_agent"] != owners


def test_a_token_in_place_of_its_hash_is_hashed() -> None:
    token = "eyJhbGciOiJSUzI1NiJ9." * 8

    hashed = "sha256:" + sha256(token.encode()).hexdigest()
    assert kept(API_CALLS, token_id=token) == {"token_id": hashed}


def test_a_powerful_scope_is_not_cut_off_behind_a_hundred_others() -> None:
    scopes = [*(f"s{n}" for n in range(100)), "admin:org"]

    assert kept(AUTH_EVENTS, scopes=scopes) == {"scopes": scopes}


def test_an_event_that_is_repaired_and_then_refused_is_not_counted_as_repaired() -> None:
    values = [
        json.dumps({**SMALL[API_CALLS], "country": "de", "occurred_at": NOW + late}).encode() for late in (0, 10**9, 0)
    ]

    decoded = decode_chunk(API_CALLS, values, [b"s-1", b"s-1", b"s-2"], now_ms=NOW)

    assert (decoded.places, decoded.repaired) == ([0], [Repaired(0, ("country",))])
    assert [rejected.index for rejected in decoded.rejected] == [1, 2]


def test_an_internal_message_is_never_repaired() -> None:
    context = {"type": "session.context", **WHO, "session_id": "s-1", "source": "device", "known_asn": 1}

    decoded = decode_chunk("session-context", [json.dumps(context).encode()], None, now_ms=NOW)

    assert decoded.rejected == [Rejected(0, "known_asn: must be a boolean, got 1")]


AGENTS = {"the owner's": HOME["user_agent"], "another": "curl/8", "a long one": "curl/8 " + "x" * 600}


def _taken_to_a_cafe(user_agent: str) -> tuple[set[str], dict[Any, int]]:
    """What is found in a session whose token is used elsewhere too, and what was counted as repaired."""
    desk = Desk()
    desk.each(auth(0, **HOME), call(1200, **HOME))
    desk.each(*({**call(at, **CAFE), "user_agent": user_agent} for at in (1260, 1320)))
    found = {reason["detection"] for risk in desk.output(SESSION_RISK) for reason in risk["reasons"]}
    return found, {labels: count for labels, count in desk.counts.items() if labels[0] == "repaired_fields"}


def test_a_stolen_token_is_found_though_its_thief_sends_a_user_agent_that_is_too_long() -> None:
    owner, other, long = (_taken_to_a_cafe(agent) for agent in AGENTS.values())

    assert "token_replayed" not in owner[0]
    assert "token_replayed" in long[0]
    assert long[0] == other[0]
    assert (other[1], long[1]) == ({}, {("repaired_fields", API_CALLS, "user_agent"): 2})


# --- laws -------------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("x" * 700),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=14,
)


@st.composite
def wrongs(draw: Callable[..., Any]) -> tuple[str, dict[str, Any]]:
    """A topic, and arbitrary values in some optional fields of its events."""
    topic = draw(st.sampled_from(sorted(MODELS)))
    optional = sorted(name for name, field in MODELS[topic].model_fields.items() if field.default is None)
    return topic, draw(st.dictionaries(st.sampled_from(optional), anything, max_size=4))


@settings(max_examples=400)
@given(wrongs())
def test_no_value_of_an_optional_field_loses_an_event(wrong_event: tuple[str, dict[str, Any]]) -> None:
    topic, members = wrong_event
    value = json.dumps({**SMALL[topic], **members}).encode()
    if b"\\ud" in value:
        return
    decoded = decode_chunk(topic, [value], None, now_ms=NOW)

    (event,) = decoded.events
    assert MODELS[topic].model_validate(event).model_dump() == event
    assert {name: event[name] for name in SMALL[topic]} == SMALL[topic]
    repaired = {name for repair in decoded.repaired for name in repair.fields}
    assert repaired <= members.keys()
    assert all(event[name] == members[name] for name in members.keys() - repaired)
    again = decode_chunk(topic, [encode(event)], None, now_ms=NOW)
    assert (again.events, again.repaired) == ([event], [])
    if repaired:
        assert repair(topic, value) == (event, tuple(sorted(repaired)))
