"""Every setting can be read, refused in words a person can act on, and looked up on its page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic_settings import BaseSettings

from pipeline import cli
from pipeline.offline.docs.settings_page import Row, markdown, table
from pipeline.settings import loading
from pipeline.settings.loading import GROUPS, PREFIX, Settings, SettingsError, load, load_transmitter
from pipeline.settings.transmitter import TransmitterSettings

ROOT = Path(__file__).parent.parent.parent
TRANSMITTER = "SESSION_RISK_TRANSMITTER_"
READS: dict[type[BaseSettings], Callable[..., Any]] = {
    Settings: load,
    TransmitterSettings: load_transmitter,
}
"""How each group is read; all are read from one environment."""


def _reader(name: str) -> Callable[..., Any]:
    return load_transmitter if name.startswith(TRANSMITTER) else load


@pytest.fixture(autouse=True)
def _a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        monkeypatch.delenv(row.env, raising=False)


def test_every_group_is_read_here() -> None:
    assert tuple(READS) == GROUPS


def test_without_any_environment_the_defaults_hold() -> None:
    found = load()

    assert (found.broker, found.partitions, found.chunk_size) == ("127.0.0.1:9092", 8, 2048)
    assert (found.metrics_host, found.metrics_port) == ("127.0.0.1", 9464)


def test_the_environment_is_read_by_every_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", "kafka-1:9092, kafka-2:9092")
    monkeypatch.setenv("SESSION_RISK_MODE", "observe")
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_ISSUER", "https://risk.example/t1")

    assert (load().broker, load().mode) == ("kafka-1:9092,kafka-2:9092", "observe")
    assert load_transmitter().issuer == "https://risk.example/t1"


@pytest.mark.parametrize(
    ("name", "value", "given_value"),
    [("SESSION_RISK_BROKER", "kafka:9092", "other:9092"), (f"{TRANSMITTER}PORT", "443", 1)],
)
def test_what_is_given_comes_before_the_environment(
    name: str, value: str, given_value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    field = name.removeprefix(TRANSMITTER).removeprefix(PREFIX).lower()

    assert getattr(_reader(name)(**{field: given_value}), field) == given_value


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_POLICY_FILE", "")

    assert load().policy_file is None


_BROKERS = "(Bootstrap brokers of Kafka: `host:port`, comma separated)"
_PROXIES = "(Addresses or networks of proxies, comma separated, whose X-Forwarded-For is trusted)"
_ISSUER = "(Issuer of every token, and base of every published URL; https, no query)"
_PLAIN = f"its path must be plain: letters, digits and ._~- between single slashes {_ISSUER}"

REFUSED = {
    ("SESSION_RISK_PARTITIONS", "0"): (
        "=0: should be greater than or equal to 1 (Partitions of every topic; cannot be changed once topics exist)"
    ),
    ("SESSION_RISK_BROKER", "kafka"): (f"=kafka: 'kafka' is not a broker's address; write host:port {_BROKERS}"),
    ("SESSION_RISK_BROKER", "kafka:99999"): (
        f"=kafka:99999: 'kafka:99999' is not a broker's address; write host:port {_BROKERS}"
    ),
    ("SESSION_RISK_BROKER", "me:sesame@kafka:9092"): (
        ": a broker's address must not contain user or password; set "
        f"SESSION_RISK_SASL_USERNAME and SESSION_RISK_SASL_PASSWORD {_BROKERS}"
    ),
    ("SESSION_RISK_POLICY_FILE", "/no/such.toml"): (
        "=/no/such.toml: there is no such file (Policy file, reloaded when it changes; by default the built-in policy)"
    ),
    ("SESSION_RISK_MODEL_DIR", "/no/such"): (
        "=/no/such: there is no such folder (Folder with one model per sub-folder; by default the included models)"
    ),
    ("SESSION_RISK_MODE", "off"): (
        "=off: should be 'enforce' or 'observe' "
        "(`observe` reports decisions without acting on them; by default the policy's mode)"
    ),
    ("SESSION_RISK_SECURITY_PROTOCOL", "SASL_SSL"): (
        "=SASL_SSL needs SESSION_RISK_SASL_USERNAME and SESSION_RISK_SASL_PASSWORD"
    ),
    ("SESSION_RISK_TLS_CERT_FILE", __file__): " and SESSION_RISK_TLS_KEY_FILE belong together; set both",
    ("SESSION_RISK_BROKERS", "kafka:9092"): ": no such setting; is SESSION_RISK_BROKER meant?",
    ("SESSION_RISK_ZZZ", "1"): ": no such setting",
    (f"{TRANSMITTER}PORT", "0"): "=0: should be greater than or equal to 1 (Port to listen on)",
    (f"{TRANSMITTER}RSA_BITS", "1024"): (
        "=1024: should be greater than or equal to 2048 (Length of new RSA keys in bits)"
    ),
    (f"{TRANSMITTER}ISSUER", "http://risk.example"): "=http://risk.example: must be https (SSF 1.0 §7.1)",
    (f"{TRANSMITTER}ISSUER", "https://me:sesame@risk.example"): (
        f": must name a host, without user and password {_ISSUER}"
    ),
    (f"{TRANSMITTER}ISSUER", "https://risk.example/a%2Fb"): f"=https://risk.example/a%2Fb: {_PLAIN}",
    (f"{TRANSMITTER}ISSUER", "https://risk.example/{id}"): f"=https://risk.example/{{id}}: {_PLAIN}",
    (f"{TRANSMITTER}ISSUER", "https://risk.example//a"): f"=https://risk.example//a: {_PLAIN}",
    (f"{TRANSMITTER}ISSUER", "https://risk.example/a/.."): f"=https://risk.example/a/..: {_PLAIN}",
    (f"{TRANSMITTER}ISSUER", "https://risk.example/.well-known/ssf-configuration"): (
        f"=https://risk.example/.well-known/ssf-configuration: {_PLAIN}"
    ),
    (f"{TRANSMITTER}TRUSTED_PROXIES", "10.0.0.1, proxy"): (
        f"=10.0.0.1, proxy: 'proxy' is neither an address nor a network {_PROXIES}"
    ),
    (f"{TRANSMITTER}TRUSTED_PROXIES", "*"): f"=*: '*' is neither an address nor a network {_PROXIES}",
    (f"{TRANSMITTER}TRUSTED_PROXIES", "::/0"): (
        f"=::/0: trusting every address would let anyone forge the client address {_PROXIES}"
    ),
    (f"{TRANSMITTER}STREAMS_FILE", "/no/such.toml"): (
        "=/no/such.toml: there is no such file "
        "(TOML file of declared streams, for receivers that cannot create their own)"
    ),
    (f"{TRANSMITTER}TLS_CERT_FILE", __file__): f" and {TRANSMITTER}TLS_KEY_FILE belong together; set both",
    (f"{TRANSMITTER}TOKEN_ISSUER", "https://as.example"): (
        f" needs {TRANSMITTER}TOKEN_JWKS_URL: the URL of its JWK Set"
    ),
    (f"{TRANSMITTER}TOKEN_JWKS_URL", "https://as.example"): (
        f" needs {TRANSMITTER}TOKEN_ISSUER: the issuer of these keys"
    ),
    (f"{TRANSMITTER}PUSH_BACKOFF_S", "400"): (f"=400.0: must not be longer than {TRANSMITTER}PUSH_BACKOFF_MAX_S=300.0"),
    (f"{TRANSMITTER}ISSUERS", "x"): f": no such setting; is {TRANSMITTER}ISSUER meant?",
}
"""By name and value: what is said behind the name."""


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_setting_that_cannot_be_used_is_refused_with_a_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        _reader(name)()

    assert str(refused.value) == name + REFUSED[name, value]


@pytest.mark.parametrize("read", READS.values())
def test_an_unknown_name_is_refused_by_every_group(read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABSE", "x")

    with pytest.raises(SettingsError, match="is SESSION_RISK_TRANSMITTER_DATABASE meant"):
        read()


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_PARTITIONS", "0")
    monkeypatch.setenv("SESSION_RISK_BROKERS", "kafka:9092")

    with pytest.raises(SettingsError) as refused:
        load(chunk_size=-1)

    names = [line.split("=")[0].split(":")[0] for line in str(refused.value).splitlines()]
    assert names == ["SESSION_RISK_BROKERS", "SESSION_RISK_PARTITIONS", "SESSION_RISK_CHUNK_SIZE"]


def test_the_embedded_broker_refuses_what_it_cannot_speak() -> None:
    with pytest.raises(SettingsError, match="the embedded broker speaks PLAINTEXT only"):
        load(embedded=True, security_protocol="SSL")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_RISK_SASL_PASSWORD", "open sesame"),
        (f"{TRANSMITTER}DATABASE", "postgresql+psycopg://me:open sesame@db/store"),
    ],
)
def test_a_secret_is_never_shown(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    read, field = _reader(name), name.removeprefix(TRANSMITTER).removeprefix(PREFIX).lower()

    details = json.loads(CliRunner().invoke(cli.main, ["settings", "--json"]).stdout)

    assert "sesame" not in f"{read()!r} {details} {read().model_dump_json()}"
    assert [row["value"] for row in details if row["env"] == name] == ["set, not shown"]
    with pytest.raises(SettingsError) as refused:
        read(**{field: ["open sesame"]})
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("kind", GROUPS)
@given(text=st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_whatever_stands_in_the_environment_only_a_settings_error_comes_of_it(
    kind: type[BaseSettings], text: str
) -> None:
    for field in kind.model_fields:
        try:
            READS[kind](**{field: text})
        except SettingsError as error:
            complaint = str(error)
        else:
            continue
        assert loading.env_name(field, kind) in complaint or "belong together" in complaint


@pytest.mark.parametrize("field", ["policy_file", "model_dir"])
def test_a_path_that_is_longer_than_any_is_not_there(field: str) -> None:
    with pytest.raises(SettingsError, match=rf"SESSION_RISK_{field.upper()}=x+: there is no such"):
        load(**{field: "x" * 300})


def test_the_table_tells_every_setting_once_with_a_sentence() -> None:
    rows = table()

    assert [row.env for row in rows] == [
        loading.env_name(field, kind) for kind in GROUPS for field in kind.model_fields
    ]
    assert all(row.type and row.description and row.description[-1] != "." for row in rows)
    assert rows[0] == Row(
        "SESSION_RISK_BROKER",
        "127.0.0.1:9092",
        "text",
        "Bootstrap brokers of Kafka: `host:port`, comma separated",
    )
    found = {row.env: row for row in rows}
    assert found["SESSION_RISK_PARTITIONS"].type == "whole number, 1 to 1024"
    assert found[f"{TRANSMITTER}TOKEN_LIFETIME_S"].type == "number, 1 to 3600"
    assert found[f"{TRANSMITTER}DATABASE"].default == "sqlite:///session-risk-transmitter.db"


def test_every_default_can_be_given_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        if row.default:
            monkeypatch.setenv(row.env, row.default)

    assert {kind: read() for kind, read in READS.items()} == {kind: kind() for kind in GROUPS}


def test_the_page_of_settings_shows_their_table() -> None:
    page = (ROOT / "deploy" / "SETTINGS.md").read_text(encoding="utf-8")

    shown = page.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert shown == markdown(), "run `make docs`"
