"""Clients prove themselves by their secret: guesses are counted, and cost no client that is known."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from threading import Lock

from pipeline.transmitter.api.limits import MOST_KNOWN, Shares
from pipeline.transmitter.api.problems import REALM, Problem
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.receivers import Receiver


def not_known() -> Problem:
    """RFC 6749 §5.2: neither which of the two it was, nor whether there is such a client."""
    headers = {"WWW-Authenticate": f'Basic realm="{REALM}"'}
    return Problem(401, "no such client, or another secret", "invalid_client", headers)


class Clients:
    """Checks who a client is. To check a secret takes long, so an address has but a share of it.

    A client whose secret was good is known from then on by a keyed hash of it, which takes nothing to make
    and to compare: it uses its own share, however many guesses come from where it is.
    """

    def __init__(self, services: Services, shares: Shares) -> None:
        self._services = services
        self._shares = shares
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        self._proved: OrderedDict[str, bytes] = OrderedDict()

    def check(self, client_id: str, secret: str, caller: str) -> Receiver:
        """Return the client whose secret this is; *caller* is counted as one. Blocks for some milliseconds.

        Raises:
            Problem: there is none (401), or it asked, or *caller* guessed, too often (429).
        """
        proof = hmac.digest(self._key, secret.encode(errors="replace"), "sha256")
        with self._lock:
            known = hmac.compare_digest(self._proved.get(client_id, b""), proof)
        if known:
            self._shares.receivers.spend(f"receiver {client_id}")
        else:  # counted before it is checked: of many at once, too
            self._shares.clients.spend(f"address {caller}")
        with self._services.store.read() as conn:
            receiver = receivers.check(conn, client_id, secret)
        if receiver is None:
            if known:
                self._forget(client_id)
            raise not_known()
        if not known:
            self._shares.clients.give_back(f"address {caller}")
            self._remember(client_id, proof)
            self._shares.receivers.spend(f"receiver {client_id}")
        return receiver

    def refused(self, caller: str) -> None:
        """Count a request of *caller* that named no client. Raises `Problem` (429) if it was one too many."""
        self._shares.clients.spend(f"address {caller}")

    def _remember(self, client_id: str, proof: bytes) -> None:
        with self._lock:
            self._proved[client_id] = proof
            self._proved.move_to_end(client_id)
            if len(self._proved) > MOST_KNOWN:
                self._proved.popitem(last=False)

    def _forget(self, client_id: str) -> None:
        with self._lock:
            self._proved.pop(client_id, None)
