"""RFC 6750 and the CAEP Interoperability Profile, "Authorization": who may ask what."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.support.ssf_http import Answer
from tests.support.ssf_receiver import Json, Receiver
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

pytestmark = pytest.mark.slow

SUBJECT = {"format": "email", "email": "ana@example.com"}


@pytest.fixture(scope="module")
def owner(rig: Rig) -> Receiver:
    return rig.receiver("owner")


@pytest.fixture(scope="module")
def stream(owner: Receiver) -> Json:
    return owner.create()


def _writes(receiver: Receiver, stream: Json) -> dict[str, tuple[str, str, object]]:
    """Every call that changes something about *stream*, last the one that ends it."""
    fields, at = {"stream_id": stream["stream_id"]}, receiver.metadata
    return {
        "patch": ("PATCH", receiver.streams_url, {**fields, "description": "mine"}),
        "put": (
            "PUT",
            receiver.streams_url,
            {**fields, "delivery": {"method": stream["delivery"]["method"]}},
        ),
        "set status": ("POST", at["status_endpoint"], {**fields, "status": "paused"}),
        "verify": ("POST", at["verification_endpoint"], fields),
        "add": ("POST", at["add_subject_endpoint"], {**fields, "subject": SUBJECT}),
        "remove": ("POST", at["remove_subject_endpoint"], {**fields, "subject": SUBJECT}),
        "delete": ("DELETE", receiver.url_of(stream["stream_id"]), "unset"),
    }


def _reads(receiver: Receiver, stream: Json) -> dict[str, tuple[str, str, object]]:
    return {
        "read": ("GET", receiver.url_of(stream["stream_id"]), "unset"),
        "status": ("GET", receiver.url_of(stream["stream_id"], "status_endpoint"), "unset"),
    }


def _poll(stream: Json) -> dict[str, tuple[str, str, object]]:
    return {"poll": ("POST", stream["delivery"]["endpoint_url"], {"returnImmediately": True})}


def _make(receiver: Receiver) -> dict[str, tuple[str, str, object]]:
    return {
        "create": ("POST", receiver.streams_url, {}),
        "list": ("GET", receiver.streams_url, "unset"),
    }


def test_A1_without_a_token_or_with_a_bad_one_nothing_is_answered(owner: Receiver, stream: Json) -> None:
    calls = {**_make(owner), **_reads(owner, stream), **_writes(owner, stream), **_poll(stream)}

    for name, (method, url, body) in calls.items():
        without = owner.ask(method, url, body, token=None)
        bad = owner.ask(method, url, body, token="not-one-of-yours")  # noqa: S106  # it is nobody's
        assert (without.status, bad.status) == (401, 401), name
        assert without.headers["www-authenticate"].startswith("Bearer"), name
        assert "error=" not in without.headers["www-authenticate"], name  # RFC 6750 §3.1: no code at all
        assert bad.headers["www-authenticate"].startswith("Bearer"), name
        assert 'error="invalid_token"' in bad.headers["www-authenticate"], name
    assert owner.read(stream["stream_id"]).status == 200


def test_A2_who_may_only_read_cannot_write(owner: Receiver, stream: Json) -> None:
    reading = owner.token("ssf.read")
    writes = {"create": _make(owner)["create"], **_writes(owner, stream)}

    for name, (method, url, body) in writes.items():
        answer = owner.ask(method, url, body, token=reading)
        assert answer.status == 403, name
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"], name
    for name, (method, url, body) in {"list": _make(owner)["list"], **_reads(owner, stream)}.items():
        assert owner.ask(method, url, body, token=reading).status == 200, name


def test_A3_a_token_in_the_address_is_refused(owner: Receiver, stream: Json) -> None:
    token = urlencode({"access_token": owner.token()})

    assert owner.ask("GET", owner.streams_url).status == 200
    alone = owner.ask("GET", f"{owner.streams_url}?{token}", token=None)
    beside = owner.ask("GET", f"{owner.url_of(stream['stream_id'])}&{token}")

    assert (alone.status, beside.status) == (401, 400)  # RFC 6750 §3.1: more than one method


def test_A4_a_token_that_expired_or_was_revoked_is_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), token_lifetime_s=1) as rig:
        receiver = rig.receiver("a4")
        answer = receiver.ask_token("ssf.manage")
        assert answer.json["expires_in"] == 1
        expiring = answer.json["access_token"]
        _refused_in_the_end(receiver, expiring)
    with transmitter(tmp_path_factory.mktemp("rig"), token_lifetime_s=3600) as rig:
        receiver, other = rig.receiver("a4"), rig.receiver("a4-other")
        kept, revoked = receiver.token("ssf.read"), receiver.token("ssf.manage")
        assert _list(receiver, revoked).status == 200
        assert _revoke(other, revoked).status == 200  # RFC 7009 §2.2: said of any token
        assert _list(receiver, revoked).status == 200
        assert _revoke(receiver, revoked).status == 200
        assert (_list(receiver, revoked).status, _list(receiver, kept).status) == (401, 200)

        assert rig.command("clients", "revoke", "a4").returncode == 0
        _refused_in_the_end(receiver, kept)
        assert receiver.ask_token("ssf.read").status == 401


def _list(receiver: Receiver, token: str) -> Answer:
    return receiver.ask("GET", receiver.streams_url, token=token)


def _refused_in_the_end(receiver: Receiver, token: str) -> None:
    until("the end of a token", lambda: _list(receiver, token).status, lambda status: status == 401)


def _revoke(receiver: Receiver, token: str) -> Answer:
    """RFC 7009 §2.1."""
    return receiver.post_form(receiver.token_url.replace("/token", "/revoke"), {"token": token})


def test_A5_a_stream_of_somebody_else_is_not_there(rig: Rig, owner: Receiver, stream: Json) -> None:
    stranger = rig.receiver("stranger")
    calls = {**_reads(stranger, stream), **_writes(stranger, stream), **_poll(stream)}

    answers = {name: stranger.ask(*call) for name, call in calls.items()}

    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(calls, 404)
    assert stranger.ask("GET", stranger.streams_url).json == []
    assert owner.read(stream["stream_id"]).json == stream
    assert owner.status(stream["stream_id"]).json["status"] == "enabled"


def test_A6_polling_asks_for_the_same_token(owner: Receiver, stream: Json) -> None:
    url = stream["delivery"]["endpoint_url"]
    body = {"returnImmediately": True}

    assert {"spec_urn": "urn:ietf:rfc:6749"} in owner.metadata["authorization_schemes"]
    assert owner.ask("POST", url, body, token=None).status == 401
    assert owner.ask("POST", f"{url}?access_token={owner.token()}", body, token=None).status == 401
    assert owner.ask("POST", url, body).json == {"sets": {}, "moreAvailable": False}
