"""Every setting can be read, refused in words a person can act on, and looked up in the README."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import settings
from pipeline.settings import GROUPS, PREFIX, Settings, SettingsError, load, load_transmitter
from pipeline.settings_table import Row, markdown, table
from pipeline.transmitter.settings import TransmitterSettings

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        monkeypatch.delenv(row.env, raising=False)


def test_without_any_environment_the_defaults_hold() -> None:
    found = load()

    assert (found.broker, found.partitions, found.chunk_size) == ("127.0.0.1:9092", 8, 1024)
    assert (found.metrics_host, found.metrics_port) == ("127.0.0.1", 9464)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", "kafka-1:9092, kafka-2:9092")
    monkeypatch.setenv("SESSION_RISK_MODE", "observe")

    assert (load().broker, load().mode) == ("kafka-1:9092,kafka-2:9092", "observe")


def test_what_is_given_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_BROKER", "kafka:9092")

    assert load(broker="other:9092").broker == "other:9092"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_POLICY_FILE", "")

    assert load().policy_file is None


REFUSED = {
    ("PARTITIONS", "0"): (
        "SESSION_RISK_PARTITIONS=0: should be greater than or equal to 1 "
        "(Partitions of every topic; fixed once topics exist)"
    ),
    ("BROKER", "kafka"): (
        "SESSION_RISK_BROKER=kafka: 'kafka' is not a broker's address; write host:port "
        "(Kafka brokers to start from: `host:port`, comma separated)"
    ),
    ("BROKER", "kafka:99999"): (
        "SESSION_RISK_BROKER=kafka:99999: 'kafka:99999' is not a broker's address; write host:port "
        "(Kafka brokers to start from: `host:port`, comma separated)"
    ),
    ("BROKER", "me:sesame@kafka:9092"): (
        "SESSION_RISK_BROKER: a broker's address holds no user and no password; they go to "
        "SESSION_RISK_SASL_USERNAME and SESSION_RISK_SASL_PASSWORD "
        "(Kafka brokers to start from: `host:port`, comma separated)"
    ),
    ("POLICY_FILE", "/no/such.toml"): (
        "SESSION_RISK_POLICY_FILE=/no/such.toml: there is no such file "
        "(Policy file, read again when it changes; else the default)"
    ),
    ("MODEL_DIR", "/no/such"): (
        "SESSION_RISK_MODEL_DIR=/no/such: there is no such folder "
        "(Folder with a model in each sub-folder; else the ones that ship)"
    ),
    ("MODE", "off"): (
        "SESSION_RISK_MODE=off: should be 'enforce' or 'observe' "
        "(`observe` reports and commands nothing; else what the policy says)"
    ),
    ("SECURITY_PROTOCOL", "SASL_SSL"): (
        "SESSION_RISK_SECURITY_PROTOCOL=SASL_SSL needs SESSION_RISK_SASL_USERNAME "
        "and SESSION_RISK_SASL_PASSWORD"
    ),
    ("TLS_KEY_FILE", __file__): (
        "SESSION_RISK_TLS_CERT_FILE and SESSION_RISK_TLS_KEY_FILE belong together; set both"
    ),
    ("BROKERS", "kafka:9092"): "SESSION_RISK_BROKERS: no such setting; is SESSION_RISK_BROKER meant?",
    ("ZZZ", "1"): "SESSION_RISK_ZZZ: no such setting",
}


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_setting_that_cannot_be_used_is_refused_with_a_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)

    with pytest.raises(SettingsError) as refused:
        load()

    assert str(refused.value) == REFUSED[name, value]


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


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_SASL_PASSWORD", "open sesame")

    assert "open sesame" not in f"{load()!r} {load().model_dump_json()}"
    with pytest.raises(SettingsError) as refused:
        load(sasl_password=["open sesame"])
    assert "open sesame" not in str(refused.value)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_whatever_stands_in_the_environment_only_a_settings_error_comes_of_it(text: str) -> None:
    for field in Settings.model_fields:
        try:
            load(**{field: text})
        except SettingsError as error:
            complaint = str(error)
        else:
            continue
        assert settings.env_name(field) in complaint or "belong together" in complaint


@pytest.mark.parametrize("field", ["policy_file", "model_dir"])
def test_a_path_that_is_longer_than_any_is_not_there(field: str) -> None:
    with pytest.raises(SettingsError, match=rf"SESSION_RISK_{field.upper()}=x+: there is no such"):
        load(**{field: "x" * 300})


def test_the_table_tells_every_setting_once_with_a_sentence() -> None:
    rows = table()

    assert [row.env for row in rows] == [
        settings.env_name(field, kind) for kind in GROUPS for field in kind.model_fields
    ]
    assert all(row.type and row.description and row.description[-1] != "." for row in rows)
    assert rows[0] == Row(
        "SESSION_RISK_BROKER",
        "127.0.0.1:9092",
        "text",
        "Kafka brokers to start from: `host:port`, comma separated",
    )
    assert {row.env: row.type for row in rows}["SESSION_RISK_PARTITIONS"] == "whole number, 1 to 1024"


def test_every_default_can_be_given_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        if row.default:
            monkeypatch.setenv(row.env, row.default)

    assert (load(), load_transmitter()) == (Settings(), TransmitterSettings())


def test_the_readme_shows_the_table_of_settings() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    shown = readme.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert shown == markdown(), "write pipeline.settings_table.markdown() between the marks of README.md"
