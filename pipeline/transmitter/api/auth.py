"""Who asks: bearer tokens in the header (RFC 6750 §2.1), and what each scope lets its holder do."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Security
from fastapi.openapi.models import OAuth2, OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.settings.transmitter import TransmitterSettings
from pipeline.transmitter.api.errors import Problem, bad_token, missing_scope, no_token, not_found
from pipeline.transmitter.api.paths import Addresses
from pipeline.transmitter.api.rate_limits import RateLimits
from pipeline.transmitter.api.server import rate_limit_key
from pipeline.transmitter.protocol import Stream
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers, streams
from pipeline.transmitter.store.database import Store, advisory_lock
from pipeline.transmitter.store.receivers import MANAGE, READ, Receiver

_CHANGES: Final = "session_risk_changes_streams"


@dataclass(frozen=True, slots=True)
class ReceiverContext:
    """One call of *receiver*. What is put into *noted* goes to the audit log."""

    services: Services
    receiver: Receiver
    noted: dict[str, Any]

    @property
    def store(self) -> Store:
        """The store."""
        return self.services.store

    @property
    def settings(self) -> TransmitterSettings:
        """The settings."""
        return self.services.settings

    @property
    def manages(self) -> bool:
        """Whether its token is good for more than reading."""
        return self.receiver.may(MANAGE)

    def now(self) -> int:
        """The time, ms."""
        return self.services.clock()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes, one of this receiver at a time: what it looks at stays as it is.

        That goes for a stream it reads, too: the transmitter itself may pause or remove one.
        """
        with self.store.begin() as conn:
            advisory_lock(conn, f"receiver {self.receiver.receiver_id}")
            conn.execution_options(**{_CHANGES: True})
            yield conn

    def ring(self, stream_id: str) -> None:
        """Wake who waits for something to happen to a stream."""
        self.services.bell.notify([stream_id])

    def all(self, conn: Connection) -> list[Stream]:
        """Return the receiver's streams, the oldest first."""
        return streams.of_receiver(conn, self.store.sealer, self.receiver.receiver_id)

    def stream(self, conn: Connection, stream_id: str) -> Stream:
        """Return a stream of the receiver.

        Raises:
            Problem: it has no such stream (404); whether another receiver has, is not told.
        """
        self.noted["stream_id"] = stream_id
        changes = conn.get_execution_options().get(_CHANGES, False)
        stream = streams.get(conn, self.store.sealer, stream_id, lock=changes)
        if stream is None or stream.receiver_id != self.receiver.receiver_id:
            raise not_found(stream_id)
        return stream

    def changeable(self, conn: Connection, stream_id: str) -> Stream:
        """Return a stream of the receiver whose configuration may be changed from here.

        Raises:
            Problem: there is none (404), or the operator declared it in a file, which would win at the next
                start (403).
        """
        stream = self.stream(conn, stream_id)
        if stream.declared:
            raise Problem(403, "this stream is declared, and changed, by the operator", "declared")
        return stream


SCOPES: Final = {
    READ: "Read streams and their status, and poll.",
    MANAGE: "All of that, and make, change and delete streams, and acknowledge revocations.",
}
"""CAEP Interoperability Profile, "OAuth Scopes"."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1: b68token
_LONGEST: Final = 8192
MOST_ADDRESS: Final = 8192
"""Longest path and query, in bytes; RFC 9110 §4.1 wants 8000 taken."""


Check = Callable[[str], Awaitable[Receiver]]
"""From a token to who holds it; raises `Problem`."""


def built_in(services: Services) -> Check:
    """Check tokens that the token endpoint here gave out."""

    def look(token: str) -> Receiver:
        with services.store.read() as conn:
            holder = receivers.holder(conn, token, services.clock())
        if holder is None:
            raise bad_token("this token is not known here, has expired or was revoked")
        return holder

    async def check(token: str) -> Receiver:
        return await run_in_threadpool(look, token)

    return check


class AuthenticationMiddleware:
    """Lets nobody in without a good token, except where the door stands open; counts who asks how often.

    The token is looked at first, and only what was refused is counted by address: a receiver is never refused
    for what others do from where it is. Open paths in *apart* count for themselves, or need not be counted.

    A token in the address is not looked at: it would stand in logs (CAEP Interoperability Profile,
    "Authorization": the header is the only way).
    """

    def __init__(self, app: ASGIApp, check: Check, shares: RateLimits, at: Addresses, apart: Collection[str]) -> None:
        self.app = app
        self.check = check
        self.shares = shares
        self.at = at
        self.apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                await self._admit(scope)
            except Problem as problem:
                await problem.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _admit(self, scope: Scope) -> None:
        name = f"address {caller_key(scope)}"
        if self.at.is_open(scope["path"]):
            if self.at.below(scope["path"]) not in self.apart:
                self.shares.pages.spend(name)
            _refuse_long(scope)
            return
        try:
            _refuse_long(scope)
            caller = await self.check(_token(scope))
        except Problem:
            self.shares.tokens.spend(name)
            raise
        scope.setdefault("state", {})["caller"] = caller
        self.shares.receivers.spend(f"receiver {caller.receiver_id}")


def _refuse_long(scope: Scope) -> None:
    """Before anything reads it: to take a long query apart takes long."""
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > MOST_ADDRESS:
        raise Problem(414, f"an address may have {MOST_ADDRESS} bytes")


def client_address(scope: Scope) -> str:
    """Where a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else "-"


def caller_key(scope: Scope) -> str:
    """Who is counted as one caller there, whoever shows what."""
    return rate_limit_key(client_address(scope))


def _token(scope: Scope) -> str:
    given = Headers(scope=scope).getlist("authorization")
    if not given:
        raise no_token()
    query = scope.get("query_string", b"").decode("latin-1")
    if len(given) > 1 or any(name == "access_token" for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise Problem(400, "a token is shown once, in the header Authorization")
    scheme, _, token = given[0].partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or len(token) > _LONGEST or not _TOKEN.fullmatch(token):
        raise bad_token("the header Authorization holds no bearer token")
    return token


class _Bearer(SecurityBase):
    """What an operation asks of its caller; the document shows it as an OAuth 2.0 scope."""

    def __init__(self) -> None:
        self.scheme_name = "oauth2"
        flow = OAuthFlowClientCredentials(tokenUrl="oauth/token", scopes=SCOPES)
        self.model = OAuth2(flows=OAuthFlows(clientCredentials=flow))

    async def __call__(self, request: Request, scopes: SecurityScopes) -> ReceiverContext:
        caller: Receiver = request.state.caller
        for scope in scopes.scopes:
            if not caller.may(scope):
                raise missing_scope(scope)
        return ReceiverContext(request.app.state.services, caller, request.scope["state"])


_bearer: Final = _Bearer()

Reader = Annotated[ReceiverContext, Security(_bearer, scopes=[READ])]
Manager = Annotated[ReceiverContext, Security(_bearer, scopes=[MANAGE])]


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


WithServices = Annotated[Services, Depends(_services)]
"""An operation's way to the services."""
