"""Polling that does not wait (RFC 8936), status and verification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import KeySet

from pipeline.transmitter.store import queue, streams
from pipeline.transmitter.store.queue import dead_letters
from tests.support.stores import token as signed
from tests.support.transmitter_api import PUSHED, Answer, Api, new_api

SOON = {"returnImmediately": True}
VERIFICATION = "https://schemas.openid.net/secevent/ssf/event-type/verification"


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"long_poll_s": 0.3, "max_poll": 3}


@pytest.fixture
def stream(api: Api, token: str) -> str:
    return str(api.stream(token)["stream_id"])


def _put(api: Api, stream: str, *jtis: str) -> None:
    with api.services.store.begin() as conn:
        queue.put(conn, [signed(jti, stream, lane=jti) for jti in jtis], api.now)


def _poll(api: Api, token: str, stream: str, output: Any) -> Answer:
    return api.ask("POST", f"/ssf/poll/{stream}", output, token=token)


def _sets(api: Api, token: str, stream: str, **output: Any) -> tuple[list[str], bool]:
    found = _poll(api, token, stream, {**SOON, **output})
    assert found.status == 200, found.body
    return list(found.json["sets"]), found.json["moreAvailable"]


def test_an_empty_poll_of_an_empty_stream_finds_nothing(api: Api, token: str, stream: str) -> None:
    strange = ["unknown", "\u0000", "\ud800", "x" * 500]
    errors = {jti: {"err": "invalid_key"} for jti in strange}
    for by_key in ({}, SOON, {"maxEvents": 0}, {"ack": strange}, {"setErrs": errors}):
        found = _poll(api, token, stream, by_key)
        assert (found.status, found.json) == (200, {"sets": {}, "moreAvailable": False})


def test_tokens_are_handed_out_in_order_and_no_more_than_asked(api: Api, token: str, stream: str) -> None:
    _put(api, stream, "a", "b", "c", "d", "e")

    assert _sets(api, token, stream, maxEvents=0) == ([], True)
    first = _poll(api, token, stream, {"maxEvents": 1})
    assert first.json == {"sets": {"a": "jwt of a"}, "moreAvailable": True}
    assert _sets(api, token, stream) == (["b", "c", "d"], True)
    assert _sets(api, token, stream, maxEvents=5) == (["e"], False)
    assert _sets(api, token, stream) == ([], False)


def test_what_is_not_acknowledged_is_handed_out_again_after_a_while(api: Api, token: str, stream: str) -> None:
    _put(api, stream, "a", "b")

    assert _sets(api, token, stream) == (["a", "b"], False)
    api.now += 59_999
    assert _sets(api, token, stream, ack=["a"]) == ([], False)
    api.now += 1
    assert _sets(api, token, stream, ack=["a"]) == (["b"], False)
    api.now += 60_000
    assert _sets(api, token, stream, ack=["b"]) == ([], False)


def test_what_a_receiver_cannot_take_becomes_a_dead_letter(api: Api, token: str, stream: str) -> None:
    _put(api, stream, "a", "b", "c")

    error = {"err": "invalid_key", "description": "no such key"}
    fields = {"ack": ["a", "b"], "setErrs": {"b": error, "unknown": error}}
    assert _sets(api, token, stream, **fields) == (["c"], False)
    with api.services.store.read() as conn:
        (dead,) = dead_letters.list_dead_letters(conn, stream)
    assert (dead.jti, dead.error, dead.error_text) == ("b", "invalid_key", "no such key")


def test_what_is_said_of_a_stream_that_pushes_changes_nothing(api: Api, token: str) -> None:
    pushes = api.stream(token, delivery=PUSHED)["stream_id"]
    _put(api, pushes, "a")

    assert _poll(api, token, pushes, {"ack": ["a"], **SOON}).status == 404
    with api.services.store.read() as conn:
        assert queue.backlog_size(conn, pushes)[0] == 1


def test_another_receiver_s_acknowledgement_changes_nothing(api: Api, token: str, stream: str) -> None:
    _put(api, stream, "a")

    assert _poll(api, api.token(name="other"), stream, {"ack": ["a"], **SOON}).status == 404
    assert _sets(api, token, stream) == (["a"], False)


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"{",
        [],
        {"maxEvents": -1},
        {"maxEvents": "1"},
        {"maxEvents": 1.5},
        {"maxEvents": True},
        {"returnImmediately": "yes"},
        {"ack": "a"},
        {"ack": [1]},
        {"setErrs": []},
        {"setErrs": {"a": "no"}},
        {"setErrs": {"a": {"description": "no code"}}},
    ],
    ids=str,
)
def test_a_poll_that_is_none_is_refused(api: Api, token: str, stream: str, output: Any) -> None:
    _put(api, stream, "a")

    assert (found := _poll(api, token, stream, output)).status == 400, found.body
    assert _sets(api, token, stream) == (["a"], False)


def test_a_stream_that_pushes_or_is_gone_is_not_polled(api: Api, token: str, stream: str) -> None:
    pushes = api.stream(token, delivery=PUSHED)["stream_id"]
    api.ask("DELETE", f"/ssf/stream?stream_id={stream}", token=token)

    assert [_poll(api, token, item, by_key).status for item in (pushes, stream) for by_key in ({}, SOON)] == [404] * 4


def test_a_paused_stream_holds_and_a_disabled_one_drops(api: Api, token: str, stream: str) -> None:
    def status(value: str, **reason: str) -> Any:
        by_key = {"stream_id": stream, "status": value, **reason}
        changed = api.ask("POST", "/ssf/status", by_key, token=token)
        assert (changed.status, changed.json) == (200, by_key)
        assert api.ask("GET", f"/ssf/status?stream_id={stream}", token=token).json == by_key

    _put(api, stream, "a", "b")
    status("paused", reason="until ten")
    assert _sets(api, token, stream) == ([], False)
    status("enabled")
    assert _sets(api, token, stream) == (["a", "b"], False)
    status("disabled")
    status("enabled")
    api.now += 60_000
    assert _sets(api, token, stream) == ([], False)


def test_a_paused_stream_says_only_that_it_is(api: Api, token: str, stream: str) -> None:
    _put(api, stream, "a")
    with api.services.store.begin() as conn:
        queue.put(conn, [signed("paused", stream, event="stream-updated")], api.now)
        streams.set_status(conn, stream, "paused", "too many wait", api.now)

    assert _sets(api, token, stream, maxEvents=0) == ([], True)
    assert _sets(api, token, stream) == (["paused"], False)
    assert _sets(api, token, stream, ack=["paused"]) == ([], False)


def test_a_dry_run_hands_nothing_out_and_says_so(tmp_path: Path) -> None:
    api = new_api(tmp_path, dry_run=True)
    token = api.token()
    stream = str(api.stream(token)["stream_id"])
    api.ask("POST", "/ssf/verify", {"stream_id": stream}, token=token)

    assert _sets(api, token, stream) == ([], False)
    with api.services.store.read() as conn:
        (dead,) = dead_letters.list_dead_letters(conn, stream)
    assert (dead.event, dead.error) == ("verification", "dry_run")
    api.services.store.close()


@pytest.mark.parametrize("output", [{}, {"status": "on"}, {"status": "enabled", "reason": "x" * 513}], ids=str)
def test_a_status_that_is_none_is_refused(api: Api, token: str, stream: str, output: dict[str, str]) -> None:
    assert api.ask("POST", "/ssf/status", {"stream_id": stream, **output}, token=token).status == 400
    assert api.ask("POST", "/ssf/status", {"status": "enabled"}, token=token).status == 400


def test_a_verification_token_comes_with_the_state(api: Api, token: str, stream: str) -> None:
    asked = api.ask("POST", "/ssf/verify", {"stream_id": stream, "state": "ä-1"}, token=token)

    assert (asked.status, asked.body) == (204, b"")
    ((jti, jwt),) = _poll(api, token, stream, SOON).json["sets"].items()
    keys = KeySet.import_key_set(api.ask("GET", "/jwks.json").json)
    found = jws.deserialize_compact(jwt, keys, algorithms=["ES256"])
    claims = json.loads(found.payload)
    assert (claims["jti"], claims["aud"]) == (jti, "https://idp.example.com")
    assert claims["sub_id"] == {"format": "opaque", "id": stream}
    assert claims["events"] == {VERIFICATION: {"state": "ä-1"}}


def test_a_stream_is_verified_only_so_often(api: Api, token: str, stream: str) -> None:
    def asked() -> Answer:
        return api.ask("POST", "/ssf/verify", {"stream_id": stream}, token=token)

    assert asked().status == 204
    api.now += 1_500
    soon = asked()
    assert (soon.status, soon.headers["retry-after"]) == (429, "59")
    api.now += 58_500
    assert asked().status == 204


@pytest.mark.parametrize("status", ["paused", "disabled"])
def test_a_stream_that_is_not_enabled_is_not_verified(api: Api, token: str, stream: str, status: str) -> None:
    api.ask("POST", "/ssf/status", {"stream_id": stream, "status": status}, token=token)

    found = api.ask("POST", "/ssf/verify", {"stream_id": stream}, token=token)

    assert (found.status, found.error) == (400, "not_enabled")
