"""Built-in token endpoint: client credentials grant (RFC 6749 §4.4) and token revocation (RFC 7009)."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, unquote

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter.api.auth import WithServices, caller_key
from pipeline.transmitter.api.errors import NO_STORE, REALM, Problem
from pipeline.transmitter.api.openapi import form_body, refusals
from pipeline.transmitter.api.paths import REVOKE, TOKEN
from pipeline.transmitter.api.rate_limits import MAX_TRACKED, RateLimits
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.receivers import Receiver


def unknown_client() -> Problem:
    """RFC 6749 §5.2: the response reveals neither whether id or secret was wrong, nor whether the client exists."""
    headers = {"WWW-Authenticate": f'Basic realm="{REALM}"'}
    return Problem(401, "unknown client or wrong secret", "invalid_client", headers)


class ClientAuthenticator:
    """Authenticates clients. Checking a secret is slow, so unverified attempts have a rate limit by address.

    After a client's secret was verified once, a keyed hash of it is remembered, which is cheap to make and to
    compare: the client then has its own rate limit, however many guesses come from its address.
    """

    def __init__(self, services: Services, limits: RateLimits) -> None:
        self._services = services
        self._limits = limits
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        self._authenticated: OrderedDict[str, bytes] = OrderedDict()

    def check(self, client_id: str, secret: str, caller: str) -> Receiver:
        """Return the client with this secret. Blocks for some milliseconds.

        *caller* is the rate-limit key of its address.

        Raises:
            Problem: there is none (401), or the client asked, or *caller* guessed, too often (429).
        """
        proof = hmac.digest(self._key, secret.encode(errors="replace"), "sha256")
        with self._lock:
            is_known = hmac.compare_digest(self._authenticated.get(client_id, b""), proof)
        if is_known:
            self._limits.receivers.count(f"receiver {client_id}")
        else:  # counted before the check, so that concurrent guesses count too
            self._limits.clients.count(f"address {caller}")
        with self._services.store.read() as conn:
            receiver = receivers.check(conn, client_id, secret)
        if receiver is None:
            if is_known:
                self._forget(client_id)
            raise unknown_client()
        if not is_known:
            self._limits.clients.uncount(f"address {caller}")
            self._remember(client_id, proof)
            self._limits.receivers.count(f"receiver {client_id}")
        return receiver

    def count_refused(self, caller: str) -> None:
        """Count a request of *caller* that named no client. Raises `Problem` (429) if it exceeds the limit."""
        self._limits.clients.count(f"address {caller}")

    def _remember(self, client_id: str, proof: bytes) -> None:
        with self._lock:
            self._authenticated[client_id] = proof
            self._authenticated.move_to_end(client_id)
            if len(self._authenticated) > MAX_TRACKED:
                self._authenticated.popitem(last=False)

    def _forget(self, client_id: str) -> None:
        with self._lock:
            self._authenticated.pop(client_id, None)


router = APIRouter(tags=["tokens"])

FORM: Final = "application/x-www-form-urlencoded"
MAX_FIELDS: Final = 32


class AccessToken(BaseModel):
    """RFC 6749 §5.1."""

    access_token: str = Field(examples=["2YotnFZFEjr1zCsicMWpAA"])
    token_type: str = Field("Bearer", examples=["Bearer"])
    expires_in: int = Field(description="Seconds", examples=[3600])
    scope: str = Field(examples=["ssf.manage"])


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request to the token endpoint: its form, and the client it claims to come from."""

    form: Mapping[str, str] = field(repr=False)
    client_id: str
    secret: str = field(repr=False)


async def _read_request(request: Request) -> ClientRequest:
    """Read the form and the claimed client id, and note the id for the audit log even if it is wrong."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != FORM:
        raise Problem(400, f"the body must be a form: {FORM}")
    form = _form(await request.body())
    credentials = request.headers.getlist("authorization")
    if len(credentials) > 1:
        raise Problem(400, "a client authenticates once: the header Authorization occurs twice")
    if not credentials:
        request.state.receiver_id = form.get("client_id")
        return ClientRequest(form, form.get("client_id", ""), form.get("client_secret", ""))
    if "client_secret" in form:
        raise Problem(400, "a client authenticates once: in the header or in the form (RFC 6749 §2.3)")
    client_id, secret = _basic(credentials[0])
    request.state.receiver_id = client_id
    if form.get("client_id", client_id) != client_id:
        raise Problem(400, "client_id: the header names another client")
    return ClientRequest(form, client_id, secret)


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:  # not UTF-8, or too many fields
        raise Problem(400, "the form cannot be parsed") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Problem(400, "a field of the form occurs twice")
    return form


def _basic(header: str) -> tuple[str, str]:
    """Decode client id and secret, each form-urlencoded before they were joined (RFC 6749 §2.3.1).

    Neither may contain a blank, so a plus stands for itself: clients that encode nothing, like curl, work too.
    """
    scheme, _, value = header.partition(" ")
    try:
        credentials = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        raise unknown_client() from None
    client_id, colon, secret = credentials.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise unknown_client()
    return unquote(client_id), unquote(secret)


@dataclass(frozen=True, slots=True)
class AuthenticatedClient:
    """An authenticated client and its form."""

    receiver: Receiver
    form: Mapping[str, str] = field(repr=False)


async def _authenticated(request: Request) -> AuthenticatedClient:
    clients: ClientAuthenticator = request.app.state.clients
    caller = caller_key(request.scope)
    try:
        client_request = await _read_request(request)
    except Problem:
        clients.count_refused(caller)
        raise
    receiver = await run_in_threadpool(clients.check, client_request.client_id, client_request.secret, caller)
    request.state.caller = receiver
    return AuthenticatedClient(receiver, client_request.form)


Client = Annotated[AuthenticatedClient, Depends(_authenticated)]

_CREDENTIAL_FIELDS: Final = {
    "client_id_": "Unless it is in the header Authorization: Basic.",
    "client_secret_": "Unless it is in the header Authorization: Basic.",
}
_SECURITY: Final[dict[str, Any]] = {"security": [{"client": []}, {}]}


@router.post(
    TOKEN,
    operation_id="issue_token",
    responses=refusals(400, 401),
    openapi_extra={
        **form_body(grant_type="client_credentials", scope_="Scopes, separated by blanks.", **_CREDENTIAL_FIELDS),
        **_SECURITY,
    },
)
async def issue(client: Client, services: WithServices, response: Response) -> AccessToken:
    """Issue an access token of limited lifetime (RFC 6749 §4.4)."""
    response.headers.update({**NO_STORE, "Pragma": "no-cache"})
    return await run_in_threadpool(_issue, services, client)


@router.post(
    REVOKE,
    operation_id="revoke_token",
    response_class=Response,
    responses=refusals(400, 401),
    openapi_extra={
        **form_body(token="The token to revoke.", token_type_hint_="Not needed.", **_CREDENTIAL_FIELDS),  # noqa: S106 - a text
        **_SECURITY,
    },
)
async def revoke(client: Client, services: WithServices) -> Response:
    """Revoke a token (RFC 7009 §2). A token of another client stays valid, and the response is the same."""
    await run_in_threadpool(_revoke, services, client)
    return Response(status_code=200, headers=NO_STORE)


def _issue(services: Services, client: AuthenticatedClient) -> AccessToken:
    receiver, form = client.receiver, client.form
    grant = form.get("grant_type")
    if grant is None:
        raise Problem(400, "grant_type: a value is missing")
    if grant != "client_credentials":
        raise Problem(400, "grant_type: only client_credentials is supported", "unsupported_grant_type")
    scopes = set(form.get("scope", "").split()) or receiver.scopes
    if not all(receiver.may(scope) for scope in scopes):
        raise Problem(400, f"scope: this client may request {' '.join(sorted(receiver.scopes))}", "invalid_scope")
    lifetime_s = services.settings.token_lifetime_s
    with services.store.begin() as conn:
        now_ms = services.clock()
        token = receivers.issue(conn, receiver.receiver_id, scopes, now_ms, int(lifetime_s * 1000))
    return AccessToken(access_token=token, expires_in=int(lifetime_s), scope=" ".join(sorted(scopes)))


def _revoke(services: Services, client: AuthenticatedClient) -> None:
    if "token" not in client.form:
        raise Problem(400, "token: a value is missing")
    with services.store.begin() as conn:
        receivers.revoke_token(conn, client.form["token"], client.receiver.receiver_id)
