"""What a receiver finds that knows only the issuer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.transmitter_api import ISSUER, Api, new_api


def test_the_document_says_where_everything_is(api: Api) -> None:
    found = asyncio.run(api.call("GET", "/.well-known/ssf-configuration/t1"))

    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.headers["cache-control"] == "public, max-age=60"
    assert found.json == {
        "spec_version": "1_0",
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/jwks.json",
        "delivery_methods_supported": ["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"],
        "configuration_endpoint": f"{ISSUER}/ssf/stream",
        "status_endpoint": f"{ISSUER}/ssf/status",
        "verification_endpoint": f"{ISSUER}/ssf/verify",
        "add_subject_endpoint": f"{ISSUER}/ssf/subjects/add",
        "remove_subject_endpoint": f"{ISSUER}/ssf/subjects/remove",
        "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}, {"spec_urn": "urn:ietf:rfc:6750"}],
        "default_subjects": "ALL",
    }


@pytest.mark.parametrize(
    ("issuer", "path", "status"),
    [
        ("https://risk.example.com", "/.well-known/ssf-configuration", 200),
        ("https://risk.example.com/", "/.well-known/ssf-configuration", 200),
        ("https://risk.example.com/", "/.well-known/ssf-configuration/", 200),
        ("https://risk.example.com/a/b", "/.well-known/ssf-configuration/a/b", 200),
        ("https://risk.example.com/a/", "/.well-known/ssf-configuration/a", 200),
        ("https://risk.example.com/a", "/.well-known/ssf-configuration", 404),
        ("https://risk.example.com/a", "/.well-known/ssf-configuration/b", 404),
        ("https://risk.example.com", "/.well-known/ssf-configuration/a", 404),
    ],
)
def test_the_document_lies_between_host_and_path(issuer: str, path: str, status: int, tmp_path: Path) -> None:
    api = new_api(tmp_path, issuer)

    found = asyncio.run(api.call("GET", path))

    assert found.status == status
    if status == 200:
        stem = issuer.rstrip("/")
        assert (found.json["issuer"], found.json["jwks_uri"]) == (issuer, f"{stem}/jwks.json")
        keys = asyncio.run(api.call("GET", f"{stem.removeprefix('https://risk.example.com')}/jwks.json"))
        assert keys.status == 200


def test_the_keys_are_public_ones(tmp_path: Path) -> None:
    api = new_api(tmp_path, alg="RS256")

    found = api.ask("GET", "/jwks.json")

    (key,) = found.json["keys"]
    assert found.status == 200
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
    assert (key["use"], key["alg"], key["kid"]) == ("sig", "RS256", api.services.signer.kid)


def test_health_is_asked_without_a_token(api: Api) -> None:
    found = api.ask("GET", "/health")

    assert (found.status, found.json) == (200, {"status": "ok"})
    assert found.headers["cache-control"] == "no-store"


def test_without_a_token_nobody_learns_what_else_there_is(api: Api) -> None:
    assert api.ask("GET", "/elsewhere").status == 401
    assert api.ask("GET", "/elsewhere", token=api.token()).json == {
        "error": "not_found",
        "error_description": "Not Found",
    }
    assert api.ask("DELETE", "/jwks.json").status == 405


def test_the_document_of_operations_names_every_operation_and_its_scope(api: Api) -> None:
    document = api.ask("GET", "/openapi.json").json

    asked = {
        operation["operationId"]: operation.get("security")
        for operations in document["paths"].values()
        for operation in operations.values()
    }
    reading, managing = [{"oauth2": ["ssf.read"]}], [{"oauth2": ["ssf.manage"]}]
    assert asked == {
        "read_configuration": None,
        "read_keys": None,
        "read_health": None,
        "issue_token": [{"client": []}, {}],
        "revoke_token": [{"client": []}, {}],
        "create_stream": managing,
        "read_streams": reading,
        "update_stream": managing,
        "replace_stream": managing,
        "delete_stream": managing,
        "read_status": reading,
        "update_status": managing,
        "verify_stream": managing,
        "add_subject": managing,
        "remove_subject": managing,
        "poll": reading,
        "acknowledge_revocation": managing,
    }
    flow = document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == f"{ISSUER}/oauth/token"
    assert document["servers"] == [{"url": "https://risk.example.com"}]


def test_every_operation_says_what_it_answers(api: Api) -> None:
    document = api.ask("GET", "/openapi.json").json

    named = {tag["name"] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (path, method)
            assert {"429", "500", "503"} <= set(operation["responses"]), (path, method)
            assert operation["summary"], (path, method)
            assert set(operation["tags"]) <= named, (path, method)
