"""Stores for tests, each test of `store` on SQLite and on PostgreSQL, and tokens to put in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from pipeline.transmitter.protocol import PUSH, SignedToken, Stream
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import Sealer
from tests.support.postgres import Postgres, postgres

SEALER = Sealer([Fernet(Fernet.generate_key())], "the tests' keys")
NOW = 1_795_501_760_000


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL for all tests; each has a database of its own."""
    with postgres(fsync="off") as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    running: Postgres = request.getfixturevalue("server")
    return running.database()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A new store."""
    opened = open_store(url, SEALER)
    yield opened
    opened.close()


def new_store(folder: Path) -> Store:
    """Return a new store in SQLite in *folder*."""
    return open_store(f"sqlite:///{folder / 'store.db'}", SEALER)


def stream(stream_id: str = "s-1", **members: Any) -> Stream:
    """Return a push stream, with *members* as given."""
    given = {
        "receiver_id": "r-1",
        "aud": "https://idp.example.org",
        "method": PUSH,
        "endpoint_url": "https://idp.example.org/events",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Stream(stream_id, **{**given, **members})


def token(jti: str, stream_id: str = "s-1", lane: str = "a", **members: Any) -> SignedToken:
    """Return a token of a stream that holds nothing."""
    given = {"event": "session-revoked", "kid": "k-1", "jwt": f"jwt of {jti}"}
    return SignedToken(stream_id, jti, lane, **{**given, **members})
