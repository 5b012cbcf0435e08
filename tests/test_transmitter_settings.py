"""The transmitter's settings: read beside the others, refused in a sentence, no secret shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli
from pipeline.settings import SettingsError, env_name, load, load_transmitter
from pipeline.settings_table import table
from pipeline.transmitter.opening import key_file_of, store_of
from pipeline.transmitter.sealing import SealError
from pipeline.transmitter.settings import PREFIX, TransmitterSettings
from pipeline.transmitter.store import StoreError


@pytest.fixture(autouse=True)
def _a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in table():
        monkeypatch.delenv(row.env, raising=False)


def test_both_groups_are_read_from_one_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_ISSUER", "https://risk.example/t1")
    monkeypatch.setenv("SESSION_RISK_BROKER", "kafka:9092")

    assert (load_transmitter().issuer, load().broker) == ("https://risk.example/t1", "kafka:9092")
    assert load_transmitter(port=1).port == 1


REFUSED = {
    ("PORT", "0"): (
        "SESSION_RISK_TRANSMITTER_PORT=0: should be greater than or equal to 1 (Port that is listened on)"
    ),
    ("RSA_BITS", "1024"): (
        "SESSION_RISK_TRANSMITTER_RSA_BITS=1024: should be greater than or equal to 2048 "
        "(Length of new RSA keys)"
    ),
    ("ISSUER", "http://risk.example"): (
        "SESSION_RISK_TRANSMITTER_ISSUER=http://risk.example: must be https (SSF 1.0 §7.1)"
    ),
    ("STREAMS_FILE", "/no/such.toml"): (
        "SESSION_RISK_TRANSMITTER_STREAMS_FILE=/no/such.toml: there is no such file "
        "(TOML file of streams for receivers without a management API)"
    ),
    ("TLS_KEY_FILE", __file__): (
        "SESSION_RISK_TRANSMITTER_TLS_CERT_FILE and SESSION_RISK_TRANSMITTER_TLS_KEY_FILE belong together; "
        "set both"
    ),
    ("TOKEN_ISSUER", "https://as.example"): (
        "SESSION_RISK_TRANSMITTER_TOKEN_ISSUER needs SESSION_RISK_TRANSMITTER_TOKEN_JWKS_URL: "
        "where its keys are"
    ),
    ("TOKEN_JWKS_URL", "https://as.example"): (
        "SESSION_RISK_TRANSMITTER_TOKEN_JWKS_URL needs SESSION_RISK_TRANSMITTER_TOKEN_ISSUER: "
        "whose keys these are"
    ),
    ("PUSH_BACKOFF_S", "400"): (
        "SESSION_RISK_TRANSMITTER_PUSH_BACKOFF_S=400.0: must not be longer than "
        "SESSION_RISK_TRANSMITTER_PUSH_BACKOFF_MAX_S=300.0"
    ),
    ("ISSUERS", "x"): (
        "SESSION_RISK_TRANSMITTER_ISSUERS: no such setting; is SESSION_RISK_TRANSMITTER_ISSUER meant?"
    ),
}


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_setting_that_cannot_be_used_is_refused_with_a_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)

    with pytest.raises(SettingsError) as refused:
        load_transmitter()

    assert str(refused.value) == REFUSED[name, value]


def test_an_unknown_name_is_refused_by_both_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABSE", "x")

    for read in (load, load_transmitter):
        with pytest.raises(SettingsError, match="is SESSION_RISK_TRANSMITTER_DATABASE meant"):
            read()


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_whatever_stands_in_the_environment_only_a_settings_error_comes_of_it(text: str) -> None:
    for field in TransmitterSettings.model_fields:
        try:
            load_transmitter(**{field: text})
        except SettingsError as error:
            complaint = str(error)
        else:
            continue
        assert env_name(field, TransmitterSettings) in complaint


def test_the_address_of_the_store_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql+psycopg://me:sesame@db/store"
    monkeypatch.setenv("SESSION_RISK_TRANSMITTER_DATABASE", address)

    told = json.loads(CliRunner().invoke(cli.main, ["settings", "--json"]).stdout)

    assert "sesame" not in f"{load_transmitter()!r} {told} {load_transmitter().model_dump_json()}"
    assert [row["value"] for row in told if row["env"].endswith("_DATABASE")] == ["set, not shown"]
    with pytest.raises(SettingsError) as refused:
        load_transmitter(database=["sesame"])
    assert "sesame" not in str(refused.value)


def test_a_default_that_is_no_secret_is_in_the_table() -> None:
    rows = {row.env: row for row in table()}

    assert rows[f"{PREFIX}DATABASE"].default == "sqlite:///session-risk-transmitter.db"
    assert rows[f"{PREFIX}TOKEN_LIFETIME_S"].type == "number, 1 to 3600"


# --- The store they name ---


def _settings(database: str, key_file: Path | None = None) -> TransmitterSettings:
    return load_transmitter(database=database, key_file=key_file)


def test_the_keys_lie_beside_the_sqlite_file_unless_they_are_set_elsewhere(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'store.db'}"

    assert key_file_of(_settings(database)) == tmp_path / "store.db.key"
    assert key_file_of(_settings(database, tmp_path / "other")) == tmp_path / "other"


def test_a_store_in_postgresql_has_no_place_beside_it(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="needs SESSION_RISK_TRANSMITTER_KEY_FILE"):
        store_of(_settings("postgresql://db/store"))


@pytest.mark.parametrize("database", ["nonsense", "mysql://db/store"])
def test_an_address_that_is_none_is_refused_and_leaves_no_key_file(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises((StoreError, SealError)):
        store_of(_settings(database))

    assert list(tmp_path.iterdir()) == []


def test_the_store_is_made_with_its_keys_and_found_again(tmp_path: Path) -> None:
    settings = _settings(f"sqlite:///{tmp_path / 'store.db'}")
    sealed = []
    for _ in range(2):
        store = store_of(settings)
        sealed.append(store.sealer.seal("text"))
        assert store.sealer.open(sealed[0]) == "text"
        store.close()

    assert {"store.db", "store.db.key"} <= {path.name for path in tmp_path.iterdir()}
