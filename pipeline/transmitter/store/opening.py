"""A store as the settings describe it."""

from __future__ import annotations

from pathlib import Path

from pipeline.transmitter.settings import TransmitterSettings
from pipeline.transmitter.store.database import Store, StoreError, address, file_of, open_store
from pipeline.transmitter.store.sealing import SealError, load


def store_of(settings: TransmitterSettings) -> Store:
    """Open the store that *settings* name, with its key file; both are made if missing.

    Raises `StoreError` or `SealError`, each in a sentence.
    """
    return open_store(settings.database.get_secret_value(), load(key_file_of(settings)))


def existing_store_of(settings: TransmitterSettings) -> Store:
    """As `store_of`, but none is made to find nothing in it: where there is none, raises `StoreError`."""
    file = file_of(address(settings.database.get_secret_value()))
    if file is not None and not file.is_file():
        raise StoreError(
            f"{file}: there is no store of a transmitter here; name it in SESSION_RISK_TRANSMITTER_DATABASE"
        )
    return store_of(settings)


def key_file_of(settings: TransmitterSettings) -> Path:
    """The file of the keys that seal: as set, else beside the SQLite file.

    Raises `SealError` for PostgreSQL without such a setting: there is no place all its transmitters share;
    `StoreError` if the address of the store is none.
    """
    file = file_of(address(settings.database.get_secret_value()))
    if settings.key_file is not None:
        return settings.key_file
    if file is None:
        raise SealError(
            "a store in PostgreSQL needs SESSION_RISK_TRANSMITTER_KEY_FILE: the file of keys that seal its "
            "secrets, the same for every transmitter"
        )
    return file.with_name(f"{file.name}.key")
