"""Keys change while others sign: whatever waits is verified by what is published, at every moment."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import jwt
from cryptography.fernet import Fernet
from sqlalchemy import select

from pipeline.transmitter.protocol import SignedToken
from pipeline.transmitter.store import queue, signing_keys
from pipeline.transmitter.store.database import Store, open_store
from pipeline.transmitter.store.encryption import Sealer
from pipeline.transmitter.store.signing_keys import Signer, open_signer
from pipeline.transmitter.store.tables import sets
from tests.support.stores import NOW, SEALER

ROOT = Path(__file__).parent.parent.parent
BATCHES = 30


def _signs(store: Store, name: str) -> None:
    """Sign and put in, as the intake does: what is known is looked up, signed, then stored."""
    signer = open_signer(store, "ES256", 2048, NOW)
    for number in range(BATCHES):
        with store.read() as conn:
            signer.refresh(conn)
        jti = f"{name}-{number}"
        kid, text = signer.sign({"jti": jti})
        with store.begin() as conn:
            queue.put(conn, [SignedToken("s-1", jti, name, "session-revoked", kid, text)], NOW)


def _rotates(store: Store) -> None:
    signer = Signer(store.sealer, "ES256")
    for number in range(BATCHES):
        with store.begin() as conn:
            signer.rotate(conn, NOW + number)


def _delivers(store: Store, done: threading.Event) -> None:
    while not done.is_set():
        with store.begin() as conn:
            heads = queue.heads(conn, "s-1", NOW, 1)
            queue.mark_delivered(conn, [head.seq for head in heads], NOW)


def _verifies(store: Store) -> int:
    """Verify all that waits by the keys that are published at that moment; return how many."""
    with store.read() as conn:
        keys = {key["kid"]: jwt.PyJWK(key) for key in Signer(SEALER).jwks(conn)["keys"]}
        texts = list(conn.scalars(select(sets.c.jwt).where(sets.c.jwt.is_not(None))))
    for text in texts:
        jwt.decode(text, keys[jwt.get_unverified_header(text)["kid"]], algorithms=["ES256"])
    return len(texts)


def _running(*works: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def test_whatever_waits_is_verified_by_what_is_published_while_keys_change(store: Store) -> None:
    done = threading.Event()
    works = _running(
        lambda: _signs(store, "a"),
        lambda: _signs(store, "b"),
        lambda: _rotates(store),
    )
    (delivers,) = _running(lambda: _delivers(store, done))
    looks = 0
    while any(thread.is_alive() for thread in works):
        _verifies(store)
        looks += 1
    done.set()
    delivers.join()

    with store.read() as conn:
        put_in = conn.scalars(select(sets.c.jti)).all()
        kids = [key.kid for key in signing_keys.list_keys(conn) if key.retired_at is None]
    assert looks > 0
    assert len(put_in) == 2 * BATCHES
    assert len(kids) == 1


ROTATES = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}]
from cryptography.fernet import Fernet
from pipeline.transmitter.store.encryption import Sealer
from pipeline.transmitter.store.signing_keys import Signer
from pipeline.transmitter.store.database import open_store
sealer = Sealer([Fernet(sys.argv[2])], "keys")
store = open_store(sys.argv[1], sealer)
with store.begin() as conn:
    print(Signer(sealer, "ES256").rotate(conn, int(sys.argv[3])))
"""


def test_a_key_that_another_process_made_signs_after_the_next_refresh(store: Store, url: str) -> None:
    secret = Fernet.generate_key()
    shared = open_store(url, Sealer([Fernet(secret)], "keys"))
    signer = open_signer(shared, "ES256", 2048, NOW)
    before = signer.kid

    done = subprocess.run(
        [sys.executable, "-c", ROTATES, url, secret.decode(), str(NOW + 1)],
        check=True,
        capture_output=True,
        text=True,
    )
    with shared.read() as conn:
        noticed = signer.refresh(conn)

    assert noticed
    assert before != signer.kid == done.stdout.strip()
    shared.close()


def test_of_many_that_rotate_at_once_one_key_is_left_to_sign(store: Store) -> None:
    at_once = 4

    def rotate() -> None:
        signer = Signer(store.sealer, "ES256")
        with store.begin() as conn:
            signer.rotate(conn, NOW)

    for thread in _running(*[rotate] * at_once):
        thread.join()

    with store.read() as conn:
        keys = signing_keys.list_keys(conn)
    assert len(keys) == at_once
    assert [key.retired_at for key in keys] == [None, *[NOW] * (at_once - 1)]
