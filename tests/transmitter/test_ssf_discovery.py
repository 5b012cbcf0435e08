"""SSF 1.0 §7: a receiver that knows only the issuer finds everything else.

Ids are those of the table in pipeline/transmitter/README.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.ssf_receiver import POLL, PUSH, Json, well_known
from tests.support.ssf_records import decision, revocation
from tests.support.ssf_transmitter import Rig, transmitter

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parent.parent.parent / "pipeline" / "transmitter" / "README.md").read_text("utf-8")
ENDPOINTS = ("configuration_endpoint", "status_endpoint", "verification_endpoint")
SUBJECT_ENDPOINTS = ("add_subject_endpoint", "remove_subject_endpoint")


@pytest.fixture(scope="module")
def rig_settings() -> dict[str, Any]:
    return {"path": "/issuer1"}


@pytest.mark.parametrize("path", ["", "/issuer1", "/issuer1/"])
def test_D1_the_discovery_document_lies_between_host_and_path(
    path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), path=path) as rig:
        host = rig.issuer.removesuffix(path)
        found = rig.wire.call("GET", f"{host}/.well-known/ssf-configuration{path.rstrip('/')}")
        elsewhere = rig.wire.call("GET", f"{host}/.well-known/ssf-configuration/other")

    assert (found.status, found.headers["content-type"]) == (200, "application/json")
    assert found.json["issuer"] == rig.issuer
    assert elsewhere.status == 404


def test_D2_the_issuer_is_the_same_in_the_document_the_stream_and_the_token(rig: Rig) -> None:
    receiver = rig.receiver("d2")
    stream = receiver.create()
    rig.say(revocation())
    (token,) = receiver.collect(stream, 1)

    document = rig.wire.call("GET", well_known(rig.issuer)).json
    assert {document["issuer"], stream["iss"], token.claims["iss"]} == {rig.issuer}


def test_D3_the_document_names_version_methods_keys_and_endpoints(rig: Rig) -> None:
    document = rig.wire.call("GET", well_known(rig.issuer)).json

    assert document["spec_version"] == "1_0"
    assert sorted(document["delivery_methods_supported"]) == [PUSH, POLL]
    urls = [document[name] for name in (*ENDPOINTS, *SUBJECT_ENDPOINTS, "jwks_uri")]
    assert [url for url in urls if not url.startswith(f"{rig.issuer}/")] == []
    assert rig.issuer.startswith("https://")


def test_D4_the_document_names_oauth_and_all_subjects_and_has_nothing_empty(rig: Rig) -> None:
    document = rig.wire.call("GET", well_known(rig.issuer)).json

    assert {"spec_urn": "urn:ietf:rfc:6749"} in document["authorization_schemes"]
    assert document["default_subjects"] == "ALL"
    assert [name for name, value in document.items() if value in ([], {}, "", None)] == []


def test_D5_keys_are_public_and_the_old_one_stays_while_what_it_signed_waits(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with transmitter(tmp_path_factory.mktemp("rig"), redelivery_s=0.2) as rig:
        receiver = rig.receiver("d5")
        stream = receiver.create()
        (before,) = receiver.keys()["keys"]
        rig.say(revocation())

        assert rig.command("keys", "rotate").returncode == 0
        both = receiver.keys()["keys"]
        assert len(both) == 2
        (after,) = [key for key in both if key["kid"] != before["kid"]]
        rig.say(decision("LOW", "HIGH", "device_rooted"))

        sets = receiver.peek(stream, 3)  # the level, and what it says of the device
        assert [this_set.header["kid"] for this_set in sets] == [before["kid"], after["kid"], after["kid"]]
        receiver.poll(stream, ack=[this_set.claims["jti"] for this_set in sets])
        assert receiver.keys()["keys"] == [after]
        for key in both:
            assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
            assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")


def test_D6_a_key_shorter_than_2048_bits_is_refused(rig: Rig) -> None:
    weak = rsa.generate_private_key(65_537, 1024)  # noqa: S505  # it is to be refused
    pem = rig.folder / "weak.pem"
    pem.write_bytes(
        weak.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    imported = rig.command("keys", "import", str(pem))
    started = rig.command("keys", "list", SESSION_RISK_TRANSMITTER_RSA_BITS="1024")

    assert imported.returncode != 0
    assert "2048" in imported.stderr
    assert started.returncode != 0
    assert "SESSION_RISK_TRANSMITTER_RSA_BITS" in started.stderr


def test_the_page_and_the_document_of_the_interface_name_the_same(rig: Rig) -> None:
    table = re.search(r"^\| path \| methods .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = {
        (path, method, row[2].strip().strip("`"))
        for row in (line.strip("|").split("|") for line in table[0].strip().splitlines()[2:])
        for path in re.findall(r"`([^`]+)`", row[0])
        for method in row[1].strip().split(", ")
    }

    document = rig.wire.call("GET", f"{rig.issuer}/openapi.json").json
    served = {
        (path.replace("/issuer1", ""), method.upper(), _scope(operation))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert rows == served


def _scope(operation: Json) -> str:
    """The scope that an operation asks for."""
    (scope,) = [item for way in operation.get("security", []) for item in way.get("oauth2", [])] or ["–"]
    return str(scope)
