"""Subjects that receivers add and remove, and the forms they may have (RFC 9493 §3, SSF 1.0 §3)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from pipeline.transmitter.api import stream_controls
from pipeline.transmitter.store.tables import stream_subjects
from pipeline.transmitter.subject_identifiers import find_error
from tests.support.transmitter_api import Api

EMAIL = {"format": "email", "email": "ana@example.com"}
ISS_SUB = {"format": "iss_sub", "iss": "https://idp.example.com", "sub": "u-1"}
OPAQUE = {"format": "opaque", "id": "t-1"}

RIGHT: list[dict[str, Any]] = [
    EMAIL,
    ISS_SUB,
    OPAQUE,
    {"format": "account", "uri": "acct:ana@example.com"},
    {"format": "phone_number", "phone_number": "+12065550100"},
    {"format": "did", "url": "did:example:123456"},
    {"format": "uri", "uri": "urn:uuid:4e851e98-83c4-4743-a5da-150ecb53042f"},
    {"format": "jwt_id", "iss": "https://idp.example.com", "jti": "j-1"},
    {"format": "saml_assertion_id", "issuer": "https://idp.example.com", "assertion_id": "a-1"},
    {"format": "ip-addresses", "ip-addresses": ["192.0.2.7", "2001:db8::7"]},
    {"format": "aliases", "identifiers": [EMAIL, ISS_SUB]},
    {"format": "complex", "user": ISS_SUB, "tenant": OPAQUE},
    {"format": "complex", "user": ISS_SUB, "of_ours": OPAQUE},
]

WRONG: list[Any] = [
    {},
    {"format": 5},
    {"format": "name", "name": "Ana"},
    {"email": "ana@example.com"},
    {"format": "email"},
    {"format": "email", "email": ""},
    {"format": "email", "email": 5},
    {"format": "email", "email": "a\x00b"},
    {"format": "email", "email": "\ud800"},
    {"format": "email", "email": "x" * 1025},
    {**EMAIL, "sub": "u-1"},
    {"format": "iss_sub", "iss": "https://idp.example.com"},
    {"format": "ip-addresses", "ip-addresses": []},
    {"format": "ip-addresses", "ip-addresses": "192.0.2.7"},
    {"format": "aliases", "identifiers": []},
    {"format": "aliases", "identifiers": ["ana"]},
    {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [EMAIL]}]},
    {"format": "aliases", "identifiers": [EMAIL] * 17},
    {"format": "aliases", "identifiers": [EMAIL], "also": 1},
    {"format": "complex"},
    {"format": "complex", "user": "ana"},
    {"format": "complex", "user": {"format": "complex", "user": EMAIL}},
    {"format": "complex", "\ud800": EMAIL},
    {"format": "complex", **{f"m{number}": EMAIL for number in range(17)}},
]


@pytest.fixture
def stream(api: Api, token: str) -> str:
    return str(api.stream(token)["stream_id"])


def _excluded(api: Api, stream: str) -> list[Any]:
    with api.services.store.read() as conn:
        out = select(stream_subjects.c.subject).where(stream_subjects.c.stream_id == stream)
        return list(conn.scalars(out.order_by(stream_subjects.c.subject_hash)))


@pytest.mark.parametrize("subject", RIGHT, ids=str)
def test_a_subject_is_removed_and_added_again(api: Api, token: str, stream: str, subject: dict[str, Any]) -> None:
    fields = {"stream_id": stream, "subject": subject}

    removed = api.ask("POST", "/ssf/subjects/remove", fields, token=token)
    assert (removed.status, removed.body, _excluded(api, stream)) == (204, b"", [subject])
    added = api.ask("POST", "/ssf/subjects/add", {**fields, "verified": True}, token=token)
    assert (added.status, added.body, _excluded(api, stream)) == (200, b"", [])


@pytest.mark.parametrize("subject", WRONG, ids=repr)
def test_what_is_no_subject_identifier_is_refused(api: Api, token: str, stream: str, subject: Any) -> None:
    fields = {"stream_id": stream, "subject": subject}

    assert find_error(subject) is not None
    for path in ("/ssf/subjects/add", "/ssf/subjects/remove"):
        assert api.ask("POST", path, fields, token=token).status == 400
    assert _excluded(api, stream) == []


@pytest.mark.parametrize("output", [{}, {"subject": None}, {"subject": "ana"}, {"subject": []}], ids=str)
def test_without_a_subject_nothing_is_done(api: Api, token: str, stream: str, output: Any) -> None:
    for path in ("/ssf/subjects/add", "/ssf/subjects/remove"):
        assert api.ask("POST", path, {"stream_id": stream, **output}, token=token).status == 400


def test_a_stream_lacks_no_more_subjects_than_it_may_and_adding_one_makes_room(
    api: Api, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_controls, "MAX_REMOVED", 1)
    stream = str(api.stream(token)["stream_id"])

    def say(what: str, subject: Any) -> int:
        fields = {"stream_id": stream, "subject": subject}
        return api.ask("POST", f"/ssf/subjects/{what}", fields, token=token).status

    steps = [
        ("remove", EMAIL, 204),
        ("remove", OPAQUE, 403),
        ("remove", EMAIL, 204),
        ("add", OPAQUE, 200),
        ("remove", OPAQUE, 403),
        ("add", EMAIL, 200),
        ("remove", OPAQUE, 204),
        ("add", EMAIL, 200),
    ]
    assert [say(what, subject) for what, subject, _ in steps] == [status for _, _, status in steps]
    assert _excluded(api, stream) == [OPAQUE]


def test_what_is_one_too_many_is_told_in_a_sentence(api: Api, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_controls, "MAX_REMOVED", 0)
    fields = {"stream_id": api.stream(token)["stream_id"], "subject": EMAIL}

    refused = api.ask("POST", "/ssf/subjects/remove", fields, token=token)

    assert (refused.status, refused.json) == (
        403,
        {
            "error": "too_many_subjects",
            "error_description": "at most 0 subjects may be removed from a stream; "
            "add some of them again, or create another stream",
        },
    )
