"""A transmitter that cannot start says in a sentence why, what is wrong and which setting to change."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main
from pipeline.kafka.acls import rights_of
from pipeline.offline.docs.settings_page import table
from pipeline.transmitter import startup

OWN = "SESSION_RISK_TRANSMITTER_"


@pytest.fixture(autouse=True)
def _a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean settings, a store that is not there yet, no metrics, and a free port."""
    for row in table():
        monkeypatch.delenv(row.env, raising=False)
    monkeypatch.setenv(f"{OWN}DATABASE", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv(f"{OWN}METRICS_PORT", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv(f"{OWN}PORT", str(free.getsockname()[1]))


@pytest.fixture
def _with_kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the brokers had all that is needed; whoever gets so far as to work ends with 42."""
    monkeypatch.setattr(startup, "check_kafka", lambda *_: None)
    monkeypatch.setattr(startup, "run", lambda *_: 42)


with_kafka = pytest.mark.usefixtures("_with_kafka")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


def start(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["transmitter", *words], env=environment)


@with_kafka
@pytest.mark.parametrize("words", [(), ("run",)], ids=["bare", "run"])
def test_the_bare_command_and_run_transmit(words: tuple[str, ...]) -> None:
    done = start(*words)

    assert (done.exit_code, done.stdout) == (42, "")


def test_without_a_broker_it_ends_with_3() -> None:
    done = start(SESSION_RISK_BROKER="127.0.0.1:1")

    assert (done.exit_code, done.stdout) == (3, "")
    assert "session-risk: no broker answers at 127.0.0.1:1; start one with" in done.stderr


def test_the_embedded_broker_is_refused() -> None:
    done = start(SESSION_RISK_EMBEDDED="true")

    assert done.exit_code == 2
    assert done.stderr == (
        "session-risk: SESSION_RISK_EMBEDDED: the embedded broker is inside another process; name a broker "
        "in SESSION_RISK_BROKER\n"
    )


@with_kafka
@pytest.mark.parametrize(
    ("port", "subject_name", "advice"),
    [
        ("PORT", "the transmitter", f"{OWN}HOST and {OWN}PORT"),
        ("METRICS_PORT", "metrics", f"{OWN}METRICS_PORT"),
    ],
)
def test_an_address_that_is_taken_is_named_with_its_setting(
    taken: int, port: str, subject_name: str, advice: str
) -> None:
    done = start(**{f"{OWN}{port}": str(taken)})

    assert done.exit_code == 2
    assert f"{subject_name} cannot listen on 127.0.0.1:{taken} (Address already in use)" in done.stderr
    assert done.stderr.endswith(f"; set {advice}\n")


@with_kafka
@pytest.mark.parametrize(
    ("setting", "text", "wrong"),
    [
        ("STREAMS_FILE", "[streams.okta]\n", "okta"),
        (
            "STREAMS_FILE",
            '[streams.okta]\naud = "https://a.example"\nendpoint_url = "http://10.0.0.1/events"\n',
            "endpoint_url http://10.0.0.1/events: the scheme must be https, not 'http'",
        ),
        (
            "STREAMS_FILE",
            '[streams.okta]\naud = "https://a.example"\nendpoint_url = "https://10.0.0.1/events"\n',
            "endpoint_url https://10.0.0.1/events: connecting to its address 10.0.0.1 is not permitted",
        ),
        ("SUBJECTS_FILE", "[[principals]]\nmatch = '('\n", "not a regular expression"),
        ("KEY_FILE", "no key\n", "key"),
    ],
    ids=["incomplete stream", "plain http", "private address", "subjects", "keys"],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, setting: str, text: str, wrong: str) -> None:
    path = tmp_path / "given"
    path.write_text(text, "utf-8")

    done = start(**{f"{OWN}{setting}": str(path)})

    assert done.exit_code == 2, done.output
    assert f"session-risk: {path}" in done.stderr
    assert wrong in done.stderr


@with_kafka
def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("this is no database, and long enough to be seen as none" * 9, "utf-8")

    done = start()

    assert done.exit_code == 3, done.output
    assert f"{tmp_path}/store.db: is not an SQLite database" in done.stderr


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        (
            {"TLS_CERT_FILE": __file__},
            f"{OWN}TLS_CERT_FILE and {OWN}TLS_KEY_FILE belong together; set both",
        ),
        (
            {"TOKEN_ISSUER": "https://as.example"},
            f"{OWN}TOKEN_ISSUER needs {OWN}TOKEN_JWKS_URL: the URL of its JWK Set",
        ),
        ({"ISSUER": "http://risk.example"}, f"{OWN}ISSUER=http://risk.example: must be https (SSF 1.0 §7.1)"),
        ({"RSA_BITS": "1024"}, f"{OWN}RSA_BITS=1024: should be greater than or equal to 2048"),
    ],
    ids=["half a certificate", "no keys", "plain http", "weak key"],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, str], wrong: str) -> None:
    done = start(**{f"{OWN}{name}": value for name, value in settings.items()})

    assert (done.exit_code, done.stdout) == (2, "")
    assert f"session-risk: {wrong}" in done.stderr


@with_kafka
def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no certificate", "utf-8")

    done = start(**{f"{OWN}TLS_{name.upper()}_FILE": str(tmp_path / f"{name}.pem") for name in ("cert", "key")})

    assert done.exit_code == 2, done.output
    assert f"{tmp_path}/cert.pem" in done.stderr


def test_what_it_does_in_kafka_is_within_the_rights_of_its_role() -> None:
    granted = rights_of("transmitter", "session-risk", ())
    own = startup.rights("transmitter-session-risk")

    assert [right for right in own if right.resource == "topic" and right not in granted] == []
    assert [str(right) for right in own if right.resource == "group"] == ["read group transmitter-session-risk"]


# --- Tenants ---


@with_kafka
def test_a_declared_stream_of_another_tenant_than_its_receivers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.toml"
    path.write_text('[streams.p]\naud = "a"\nmethod = "poll"\nreceiver = "idp"\ntenant = "other"\n', "utf-8")
    added = start("clients", "add", "idp", "--aud", "a", "--tenant", "acme")

    done = start(**{f"{OWN}STREAMS_FILE": str(path)})

    assert (added.exit_code, done.exit_code) == (0, 2)
    assert f"session-risk: {path}: [streams.p]: tenant: other differs from" in (done.stderr)


@with_kafka
@pytest.mark.parametrize(("tenancy", "warned"), [("true", 1), ("false", 0)])
def test_streams_that_are_told_of_nothing_are_named_once_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tenancy: str, warned: int
) -> None:
    path = tmp_path / "streams.toml"
    number = '[streams.{0}]\naud = "{0}"\nmethod = "poll"\nreceiver = "{0}"\n'
    path.write_text(number.format("mine") + number.format("theirs") + 'tenant = "acme"\n', "utf-8")

    done = start(SESSION_RISK_TENANCY=tenancy, **{f"{OWN}STREAMS_FILE": str(path)})

    lines = [message for message in caplog.messages if "a stream without a tenant gets no events" in message]
    assert (done.exit_code, len(lines)) == (42, warned)
    assert all(": declared-mine. " in name for name in lines)
