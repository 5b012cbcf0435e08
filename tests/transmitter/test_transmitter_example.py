"""deploy/transmitter/ works as it is written: files load, commands do what is said, Keycloak is told."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from okta.models.security_events_provider_request import SecurityEventsProviderRequest

from pipeline.offline.docs.settings_page import table
from pipeline.transmitter.protocol import Subject
from pipeline.transmitter.static_streams import read_streams
from pipeline.transmitter.tokens.subjects import Subjects
from tests.support.ssf_endpoint import Pushed, Reply, listening
from tests.support.ssf_http import Answer
from tests.support.ssf_receiver import CAEP, Json
from tests.support.ssf_records import revocation
from tests.support.ssf_transmitter import Rig, transmitter
from tests.support.waiting import until

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "transmitter"
PAGE = (FOLDER / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^ *```\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line.strip() for block in BLOCKS for line in block.splitlines()]
HOST = "https://risk.example.com"
REVOKED = f"{CAEP}session-revoked"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with transmitter(tmp_path_factory.mktemp("rig"), redelivery_s=0.2) as rig:
        yield rig


def _curl(rig: Rig, line: str, known: dict[str, str]) -> Answer:
    """Do what curl would do with the words of *line*, at the rig instead."""
    words = shlex.split(re.sub(r"\$([A-Z_]+)", lambda found: known[found[1]], line))
    assert words.pop(0) == "curl"
    method, body, headers = "GET", [], {}
    url = words.pop().replace(HOST, rig.issuer)
    for option, value in zip(words[::2], words[1::2], strict=True):
        match option:
            case "--header":
                name, _, content = value.partition(": ")
                headers[name] = content
            case "--user":
                headers["Authorization"] = f"Basic {b64encode(value.encode()).decode()}"
            case "--json":
                method, body = "POST", [json.dumps(json.loads(value))]
                headers["Content-Type"] = "application/json"
            case "--data":
                method, body = "POST", [*body, value]
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            case "--data-urlencode":
                name, _, content = value.partition("=")
                body.append(f"{name}={quote_plus(content)}")
            case "--request":
                method = value
            case _:
                pytest.fail(f"{option}: not known here")
    return rig.wire.call(method, url, headers=headers, body="&".join(body).encode() or None)


def test_what_a_receiver_does_by_hand_does_what_is_said(rig: Rig) -> None:
    lines = [line for line in LINES if line.startswith("curl") and HOST in line and "okta" not in line]
    receiver = rig.receiver("idp")
    known = {"SECRET": receiver.secret}
    seen: list[tuple[str, int]] = []

    for line in lines:
        answer = _curl(rig, line, known)
        seen.append((line.rsplit(HOST, 1)[1].strip('"'), answer.status))
        if answer.status in (200, 201) and answer.body:
            details = answer.json
            known |= {"TOKEN": details["access_token"]} if "access_token" in details else {}
            known |= {"STREAM_ID": details["stream_id"]} if "events_delivered" in details else {}
            fields = {receiver.verified(text).event: jti for jti, text in details.get("sets", {}).items()}
            known |= {"JTI": fields[REVOKED]} if REVOKED in fields else {}
        if answer.status == 204:  # its verification is under way: now something happens
            rig.say(revocation())

    assert seen == [
        ("/.well-known/ssf-configuration", 200),
        ("/jwks.json", 200),
        ("/oauth/token", 200),
        ("/ssf/stream", 201),
        ("/ssf/verify", 204),
        ("/ssf/poll/$STREAM_ID", 200),
        ("/ssf/poll/$STREAM_ID", 200),
        ("/acks", 202),
        ("/ssf/status", 200),
        ("/ssf/stream?stream_id=$STREAM_ID", 204),
    ]
    assert "JTI" in known


def test_the_streams_and_subjects_of_the_example_are_as_okta_wants_them(tmp_path: Path) -> None:
    streams = tmp_path / "streams.toml"
    streams.write_text((FOLDER / "streams.toml").read_text("utf-8"), "utf-8")
    (tmp_path / "google.authorization").write_text("Bearer x\n", "utf-8")

    okta, google = (read_stream.stream for read_stream in read_streams(streams))
    subjects = Subjects.load(FOLDER / "subjects.toml")
    subject = Subject("default", session_id="s-1", principal_id="ana")

    assert subjects.identify(subject, okta, HOST) == {
        "format": "complex",
        "user": {"format": "iss_sub", "iss": "https://example.okta.com", "sub": "00u1f4ana"},
        "session": {"format": "opaque", "id": "s-1"},
        "tenant": {"format": "opaque", "id": "default"},
    }
    assert subjects.identify(subject, google, HOST) == {"format": "email", "email": "ana.silva@example.com"}
    assert (okta.subject_in_event, google.subject_in_event, google.authorization) == (True, True, "Bearer x")


def test_what_okta_is_asked_is_what_its_own_sdk_would_ask() -> None:
    (line,) = [line for line in LINES if "security-events-providers" in line]
    words = shlex.split(line)
    body = json.loads(words[words.index("--json") + 1])

    read = SecurityEventsProviderRequest.from_dict(body)

    assert read is not None
    assert json.loads(read.to_json()) == body
    assert body["settings"]["well_known_url"] == f"{HOST}/.well-known/ssf-configuration"


def test_the_page_names_only_commands_settings_and_files_that_exist() -> None:
    command_line: Any = import_module("pipeline.cli").main
    settings = {row.env for row in table()}

    named = re.findall(r"session-risk ((?:[a-z]+(?:-[a-z]+)* ?)+)", "\n".join([*LINES, *_spans()]))
    assert len(named) > 10
    for words in named:
        command = command_line
        for word in words.split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, words
            command = command.commands[word]
    assert set(re.findall(r"SESSION_RISK_[A-Z_]+", PAGE)) <= settings
    assert {f"SESSION_RISK_TRANSMITTER{name}" for name in re.findall(r"`(_[A-Z_]+)`", PAGE)} <= settings
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", PAGE)
    assert [target for target in targets if not (FOLDER / target).exists()] == []
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == {
        "README.md",
        *re.findall(r"^\| `([a-z.]+)` \|", PAGE, re.MULTILINE),
    }


def _spans() -> list[str]:
    return re.findall(r"`(session-risk [^`]+)`", PAGE)


class Keycloak:
    """Answers as Keycloak's token endpoint and its emit endpoint do."""

    def __init__(self, *words: str) -> None:
        self.words = list(words)
        self.emitted: list[Json] = []

    def decide(self, pushed: Pushed, _nth: int) -> Reply:
        kind = {"Content-Type": "application/json"}
        if pushed.path.endswith("/token"):
            return Reply(200, kind, b'{"access_token": "kc"}')
        assert pushed.path == "/admin/realms/main/ssf/clients/c-1/events/emit"
        assert pushed.headers["authorization"] == "Bearer kc"
        self.emitted.append(json.loads(pushed.body))
        word = self.words.pop(0) if self.words else "dispatched"
        if word == "down":
            return Reply(503)
        return Reply(200, kind, json.dumps({"status": word, "message": f"it is {word}"}).encode())


def test_the_relay_emits_each_event_through_keycloak_and_acknowledges_what_was_taken(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    keycloak = Keycloak("down", "dispatched", "subject_not_found")
    with (
        transmitter(tmp_path_factory.mktemp("rig"), redelivery_s=0.2, long_poll_s=0.2) as rig,
        listening(keycloak.decide) as endpoint,
    ):
        receiver = rig.receiver("keycloak")
        stream = receiver.create(events_requested=[REVOKED])
        environment = {
            "RELAY_ISSUER": rig.issuer,
            "RELAY_CLIENT_ID": "keycloak",
            "RELAY_CLIENT_SECRET": receiver.secret,
            "KEYCLOAK_URL": endpoint.url.removesuffix("/events"),
            "KEYCLOAK_REALM": "main",
            "KEYCLOAK_RECEIVER": "c-1",
            "KEYCLOAK_CLIENT_ID": "risk",
            "KEYCLOAK_CLIENT_SECRET": "s",
            "SSL_CERT_FILE": str(rig.folder / "cert.pem"),
        }
        relay = subprocess.Popen(
            [sys.executable, str(FOLDER / "keycloak.py")], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            rig.say(revocation(session_id="s-1"))
            until("the first to be taken", lambda: len(keycloak.emitted), lambda seen: seen == 2)
            rig.say(revocation(principal_id="nobody-there"))
            (dead,) = until("the dead letter", rig.dead_letters, bool)
        finally:
            relay.terminate()
            relay.wait(60)

        first, again, other = keycloak.emitted
        assert again == first
        assert (first["eventType"], other["eventType"]) == (REVOKED, REVOKED)
        assert first["sub_id"] == {"format": "iss_sub", "iss": rig.idp, "sub": "00u-ana"}
        assert first["event"]["initiating_entity"] == "policy"
        assert (dead["stream_id"], dead["error"]) == (stream["stream_id"], "invalid_request")
        assert "Keycloak says subject_not_found: it is subject_not_found" in dead["error_text"]
        assert receiver.poll(stream).json["sets"] == {}
