"""Streams as their receivers make, read, change, replace and delete them (SSF 1.0 §8.1.1)."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.transmitter.protocol import POLL, PUSH, SUPPORTED, Stream
from pipeline.transmitter.store import receivers, streams
from tests.support.transmitter_api import HOOK, ISSUER, PUSHED, Api

REVOKED, RISK = SUPPORTED[0], SUPPORTED[1]


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"max_streams": 3}


def _received(stream: Any, **members: Any) -> dict[str, Any]:
    return {
        "stream_id": stream["stream_id"],
        "iss": ISSUER,
        "aud": "https://idp.example.com",
        "events_supported": list(SUPPORTED),
        "events_delivered": list(SUPPORTED),
        "delivery": {"method": POLL, "endpoint_url": f"{ISSUER}/ssf/poll/{stream['stream_id']}"},
        "min_verification_interval": 60,
        "subject_form": "iss_sub",
        "subject_in_event": False,
        "personal_data": False,
        **members,
    }


def test_without_a_word_about_delivery_a_stream_is_polled(api: Api, token: str) -> None:
    made = api.ask("POST", "/ssf/stream", {}, token=token)

    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    assert made.json == _received(made.json)
    assert api.ask("GET", f"/ssf/stream?stream_id={made.json['stream_id']}", token=token).json == made.json


def test_a_stream_is_pushed_to_where_the_receiver_says(api: Api, token: str) -> None:
    made = api.stream(
        token, delivery=PUSHED, events_requested=[RISK, "https://example.com/unknown"], description="ours"
    )

    assert made == _received(
        made,
        delivery=PUSHED,
        events_requested=[RISK, "https://example.com/unknown"],
        events_delivered=[RISK],
        description="ours",
    )


def test_the_authorization_header_is_told_to_who_may_manage_only(api: Api, token: str) -> None:
    made = api.stream(token, delivery=PUSHED)
    path = f"/ssf/stream?stream_id={made['stream_id']}"

    assert api.ask("GET", path, token=token).json["delivery"] == PUSHED
    read = api.ask("GET", path, token=api.token("ssf.read")).json
    assert read["delivery"] == {"method": PUSH, "endpoint_url": HOOK}


def test_a_stream_is_of_its_receiver_s_tenant_whatever_is_said_of_it_later(api: Api) -> None:
    store = api.services.store
    with store.begin() as conn:
        receivers.add(conn, "theirs", "https://theirs.example.com", [receivers.MANAGE], api.now, "acme")
    token = api.token(name="theirs")

    made = api.stream(token)
    replaced = api.ask("PUT", "/ssf/stream", {"stream_id": made["stream_id"], "tenant": "other"}, token=token)

    assert replaced.status in (200, 400)
    with store.read() as conn:
        (stream,) = streams.of_receiver(conn, store.sealer, "theirs")
    assert stream.tenant == "acme"


def test_a_receiver_lists_its_own_streams(api: Api, token: str) -> None:
    assert api.ask("GET", "/ssf/stream", token=token).json == []

    first, second = api.stream(token), api.stream(token, description="two")
    api.stream(api.token(name="other"))

    listed = api.ask("GET", "/ssf/stream", token=token).json
    assert sorted(listed, key=str) == sorted([first, second], key=str)


def test_a_receiver_has_no_more_streams_than_it_may(api: Api, token: str) -> None:
    for _ in range(3):
        api.stream(token)

    assert (api.ask("POST", "/ssf/stream", {}, token=token).status) == 409


@pytest.mark.parametrize(
    "output",
    [
        b"{",
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"description": ' + b"9" * 5000 + b"}",
        b'{"description": "\\ud800"}',
        b'{"description": "\\u0000"}',
        {"description": 5},
        {"description": "x" * 513},
        {"events_requested": "all"},
        {"events_requested": [REVOKED] * 101},
        {"events_requested": [""]},
        {"delivery": {}},
        {"delivery": {"method": "urn:example:pigeon"}},
        {"delivery": {"method": PUSH}},
        {"delivery": {"method": PUSH, "endpoint_url": "http://idp.example.com/events"}},
        {"delivery": {"method": PUSH, "endpoint_url": "https://127.0.0.1/events"}},
        {"delivery": {"method": PUSH, "endpoint_url": "https://10.1.2.3/events"}},
        {"delivery": {"method": PUSH, "endpoint_url": "no address"}},
        {"delivery": {**PUSHED, "authorization_header": "a\r\nX-Injected: 1"}},
        {"delivery": {**PUSHED, "authorization_header": "ä"}},
        {"delivery": {**PUSHED, "authorization_header": "Bearer a\n"}},
        {"delivery": {**PUSHED, "authorization_header": " a"}},
        {"delivery": {**PUSHED, "authorization_header": ""}},
        {"subject_form": "by-name"},
        {"personal_data": "yes"},
    ],
    ids=str,
)
def test_what_cannot_be_a_stream_is_refused(api: Api, token: str, output: Any) -> None:
    found = api.ask("POST", "/ssf/stream", output, token=token)

    assert (found.status, found.error) == (400, "invalid_request")
    assert found.json["error_description"]
    assert api.ask("GET", "/ssf/stream", token=token).json == []


def test_a_change_keeps_what_it_does_not_name(api: Api, token: str) -> None:
    made = api.stream(token, delivery=PUSHED, events_requested=[REVOKED], description="ours")
    fields = {"stream_id": made["stream_id"]}

    changed = api.ask("PATCH", "/ssf/stream", {**fields, "events_requested": [RISK]}, token=token)

    expected = {**made, "events_requested": [RISK], "events_delivered": [RISK]}
    assert (changed.status, changed.json) == (200, expected)
    assert api.ask("GET", f"/ssf/stream?stream_id={made['stream_id']}", token=token).json == expected


def test_a_replacement_drops_what_it_does_not_name(api: Api, token: str) -> None:
    made = api.stream(token, delivery=PUSHED, events_requested=[REVOKED], description="ours", subject_form="email")

    replaced = api.ask("PUT", "/ssf/stream", {"stream_id": made["stream_id"]}, token=token)

    assert (replaced.status, replaced.json) == (200, _received(made))


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_what_was_read_may_be_sent_back(api: Api, token: str, method: str) -> None:
    for fields in ({}, {"delivery": PUSHED, "events_requested": [REVOKED], "description": "ours"}):
        made = api.stream(token, **fields)

        again = api.ask(method, "/ssf/stream", {**made, "events_requested": [RISK]}, token=token)

        expected = {**made, "events_requested": [RISK], "events_delivered": [RISK]}
        assert (again.status, again.json) == (200, expected)


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "output",
    [
        {"iss": "https://elsewhere.example.com"},
        {"aud": "https://elsewhere.example.com"},
        {"aud": ["https://idp.example.com", "https://elsewhere.example.com"]},
        {"aud": None},
        {"events_supported": [REVOKED]},
        {"events_delivered": [RISK]},
        {"min_verification_interval": 1},
        {"delivery": {"method": POLL, "endpoint_url": "https://elsewhere.example.com"}},
    ],
    ids=str,
)
def test_what_is_the_transmitter_s_is_not_changed(api: Api, token: str, method: str, output: dict[str, Any]) -> None:
    made = api.stream(token)

    found = api.ask(method, "/ssf/stream", {"stream_id": made["stream_id"], **output}, token=token)

    assert (found.status, found.error) == (400, "invalid_request")
    assert api.ask("GET", f"/ssf/stream?stream_id={made['stream_id']}", token=token).json == made


def test_a_stream_may_go_from_push_to_poll_and_back(api: Api, token: str) -> None:
    made = api.stream(token, delivery=PUSHED)
    fields = {"stream_id": made["stream_id"]}

    polled = api.ask("PATCH", "/ssf/stream", {**fields, "delivery": {"method": POLL}}, token=token).json
    pushed = api.ask("PATCH", "/ssf/stream", {**fields, "delivery": PUSHED}, token=token).json

    assert polled["delivery"] == {"method": POLL, "endpoint_url": f"{ISSUER}/ssf/poll/{made['stream_id']}"}
    assert pushed == made
    for wrong in (None, {"method": POLL, "endpoint_url": HOOK}):
        assert api.ask("PATCH", "/ssf/stream", {**fields, "delivery": wrong}, token=token).status == 400


def test_a_stream_that_is_deleted_is_gone(api: Api, token: str) -> None:
    path = f"/ssf/stream?stream_id={api.stream(token)['stream_id']}"

    deleted = api.ask("DELETE", path, token=token)

    assert (deleted.status, deleted.body) == (204, b"")
    assert [api.ask(method, path, token=token).status for method in ("GET", "DELETE")] == [404, 404]
    assert api.ask("DELETE", "/ssf/stream", token=token).status == 400


@pytest.mark.parametrize("stream_id", ["nobody-s", "%00", "%ed%a0%80", "a" * 200, "a/b", ""])
def test_a_stream_that_nobody_has_is_not_found(api: Api, token: str, stream_id: str) -> None:
    assert api.ask("GET", f"/ssf/stream?stream_id={stream_id}", token=token).status == 404


def test_what_the_operator_declared_is_read_and_not_changed(api: Api, token: str) -> None:
    with api.services.store.begin() as conn:
        declared = Stream("declared-okta", "idp", "https://okta.example.com", declared=True)
        streams.add(conn, api.services.store.sealer, declared)
    by_key = {"stream_id": "declared-okta"}

    assert api.ask("GET", "/ssf/stream?stream_id=declared-okta", token=token).status == 200
    assert api.ask("PATCH", "/ssf/stream", by_key, token=token).error == "declared"
    assert api.ask("PUT", "/ssf/stream", by_key, token=token).status == 403
    assert api.ask("DELETE", "/ssf/stream?stream_id=declared-okta", token=token).status == 403
    paused = api.ask("POST", "/ssf/status", {**by_key, "status": "paused"}, token=token)
    assert paused.json == {"stream_id": "declared-okta", "status": "paused"}
