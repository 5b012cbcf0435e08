"""The store that the settings name, and the keys beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings.loading import load_transmitter
from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.store.database import StoreError, key_file_path, open_configured_store
from pipeline.transmitter.store.encryption import SealError


def _settings(database: str, key_file: Path | None = None) -> TransmitterSettings:
    return load_transmitter(database=database, key_file=key_file)


def test_the_keys_lie_beside_the_sqlite_file_unless_they_are_set_elsewhere(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'store.db'}"

    assert key_file_path(_settings(database)) == tmp_path / "store.db.key"
    assert key_file_path(_settings(database, tmp_path / "other")) == tmp_path / "other"


def test_a_store_in_postgresql_has_no_place_beside_it(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="needs SESSION_RISK_TRANSMITTER_KEY_FILE"):
        open_configured_store(_settings("postgresql://db/store"))


@pytest.mark.parametrize("database", ["nonsense", "mysql://db/store"])
def test_an_address_that_is_none_is_refused_and_leaves_no_key_file(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises((StoreError, SealError)):
        open_configured_store(_settings(database))

    assert list(tmp_path.iterdir()) == []


def test_the_store_is_made_with_its_keys_and_found_again(tmp_path: Path) -> None:
    settings = _settings(f"sqlite:///{tmp_path / 'store.db'}")
    sealed = []
    for _ in range(2):
        store = open_configured_store(settings)
        sealed.append(store.sealer.seal("text"))
        assert store.sealer.open(sealed[0]) == "text"
        store.close()

    assert {"store.db", "store.db.key"} <= {path.name for path in tmp_path.iterdir()}
