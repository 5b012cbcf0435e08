"""Authentication and authorization: bearer tokens in the header (RFC 6750 §2.1), and what each scope permits."""

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

_LOCK_STREAMS: Final = "session_risk_changes_streams"


@dataclass(frozen=True, slots=True)
class ReceiverContext:
    """One authenticated call of *receiver*. *audit_fields* collects fields for the audit log."""

    services: Services
    receiver: Receiver
    audit_fields: dict[str, Any]

    @property
    def store(self) -> Store:
        """The store."""
        return self.services.store

    @property
    def settings(self) -> TransmitterSettings:
        """The settings."""
        return self.services.settings

    @property
    def may_manage(self) -> bool:
        """Whether its token has the scope `ssf.manage`."""
        return self.receiver.may(MANAGE)

    def now(self) -> int:
        """The time, ms since the epoch."""
        return self.services.clock()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A writing transaction, one at a time for each receiver, so that what it reads does not change meanwhile.

        Streams read in it are locked, because the transmitter itself may pause or remove one.
        """
        with self.store.begin() as conn:
            advisory_lock(conn, f"receiver {self.receiver.receiver_id}")
            conn.execution_options(**{_LOCK_STREAMS: True})
            yield conn

    def wake_waiters(self, stream_id: str) -> None:
        """Wake the pushes and polls that wait for this stream."""
        self.services.notifier.notify([stream_id])

    def own_streams(self, conn: Connection) -> list[Stream]:
        """Return the receiver's streams, the oldest first."""
        return streams.of_receiver(conn, self.store.sealer, self.receiver.receiver_id)

    def stream(self, conn: Connection, stream_id: str) -> Stream:
        """Return a stream of the receiver.

        Raises:
            Problem: it has no such stream (404); the response does not reveal whether another receiver has it.
        """
        self.audit_fields["stream_id"] = stream_id
        lock = conn.get_execution_options().get(_LOCK_STREAMS, False)
        stream = streams.get(conn, self.store.sealer, stream_id, lock=lock)
        if stream is None or stream.receiver_id != self.receiver.receiver_id:
            raise not_found(stream_id)
        return stream

    def changeable_stream(self, conn: Connection, stream_id: str) -> Stream:
        """Return a stream of the receiver whose configuration may be changed by the API.

        Raises:
            Problem: there is none (404), or the operator declared it in a file, which would win at the next
                start (403).
        """
        stream = self.stream(conn, stream_id)
        if stream.declared:
            raise Problem(403, "this stream is declared by the operator, who alone can change it", "declared")
        return stream


SCOPES: Final = {
    READ: "Read streams and their status, and poll.",
    MANAGE: "All of `ssf.read`; create, change and delete streams; acknowledge revocations.",
}
"""CAEP Interoperability Profile, "OAuth Scopes"."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1: b68token
_MAX_TOKEN_LENGTH: Final = 8192
MAX_ADDRESS_BYTES: Final = 8192
"""Longest path and query together, in bytes; RFC 9110 §4.1 recommends to accept at least 8000."""


TokenCheck = Callable[[str], Awaitable[Receiver]]
"""Verifies an access token and returns its receiver; raises `Problem`."""


def check_issued_token(services: Services) -> TokenCheck:
    """Return the check of tokens that the built-in token endpoint issued."""

    def find_holder(token: str) -> Receiver:
        with services.store.read() as conn:
            holder = receivers.holder(conn, token, services.clock())
        if holder is None:
            raise bad_token("this token is unknown, has expired or was revoked")
        return holder

    async def check(token: str) -> Receiver:
        return await run_in_threadpool(find_holder, token)

    return check


class AuthenticationMiddleware:
    """Rejects requests without a valid token, except on open paths, and enforces the rate limits.

    The token is checked first, and only refused requests count against the address: a receiver is never refused
    because of what others do from its address. Open paths in *uncounted_paths* are counted elsewhere or not at all.

    A token in the query is refused without a check, because addresses end up in logs (CAEP Interoperability
    Profile, "Authorization": the header is the only way).
    """

    def __init__(
        self,
        app: ASGIApp,
        check: TokenCheck,
        limits: RateLimits,
        addresses: Addresses,
        uncounted_paths: Collection[str],
    ) -> None:
        self.app = app
        self.check = check
        self.limits = limits
        self.addresses = addresses
        self.uncounted_paths = uncounted_paths

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
        if self.addresses.is_open(scope["path"]):
            if self.addresses.below(scope["path"]) not in self.uncounted_paths:
                self.limits.pages.count(name)
            _refuse_long(scope)
            return
        try:
            _refuse_long(scope)
            caller = await self.check(_token(scope))
        except Problem:
            self.limits.tokens.count(name)
            raise
        scope.setdefault("state", {})["caller"] = caller
        self.limits.receivers.count(f"receiver {caller.receiver_id}")


def _refuse_long(scope: Scope) -> None:
    """Refuse a long address before anything parses it: parsing a long query takes long."""
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > MAX_ADDRESS_BYTES:
        raise Problem(414, f"path and query may have {MAX_ADDRESS_BYTES} bytes")


def client_address(scope: Scope) -> str:
    """The address a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else "-"


def caller_key(scope: Scope) -> str:
    """The key by which requests from this address are counted, whatever token they show."""
    return rate_limit_key(client_address(scope))


def _token(scope: Scope) -> str:
    values = Headers(scope=scope).getlist("authorization")
    if not values:
        raise no_token()
    query = scope.get("query_string", b"").decode("latin-1")
    if len(values) > 1 or any(name == "access_token" for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise Problem(400, "send one token, in the header Authorization")
    scheme, _, token = values[0].partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        raise bad_token("the header Authorization holds no bearer token")
    return token


class _Bearer(SecurityBase):
    """The scope an operation requires; OpenAPI shows it as an OAuth 2.0 scope."""

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
"""Dependency that gives an operation the services."""
