"""The built-in token endpoint: client credentials (RFC 6749 §4.4), and taking tokens back (RFC 7009)."""

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
from pipeline.transmitter.api.rate_limits import MOST_KNOWN, RateLimits
from pipeline.transmitter.services import Services
from pipeline.transmitter.store import receivers
from pipeline.transmitter.store.receivers import Receiver


def not_known() -> Problem:
    """RFC 6749 §5.2: neither which of the two it was, nor whether there is such a client."""
    headers = {"WWW-Authenticate": f'Basic realm="{REALM}"'}
    return Problem(401, "no such client, or another secret", "invalid_client", headers)


class ClientAuthenticator:
    """Checks who a client is. To check a secret takes long, so an address has but a share of it.

    A client whose secret was good is known from then on by a keyed hash of it, which takes nothing to make
    and to compare: it uses its own share, however many guesses come from where it is.
    """

    def __init__(self, services: Services, shares: RateLimits) -> None:
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


router = APIRouter(tags=["tokens"])

FORM: Final = "application/x-www-form-urlencoded"
MOST_MEMBERS: Final = 32


class AccessToken(BaseModel):
    """RFC 6749 §5.1."""

    access_token: str = Field(examples=["2YotnFZFEjr1zCsicMWpAA"])
    token_type: str = Field("Bearer", examples=["Bearer"])
    expires_in: int = Field(description="Seconds", examples=[3600])
    scope: str = Field(examples=["ssf.manage"])


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request of a client: its form, and who it says it is."""

    form: Mapping[str, str] = field(repr=False)
    client_id: str
    secret: str = field(repr=False)


async def _asked(request: Request) -> ClientRequest:
    """Who says to be whom, and the form; for the audit log, also if it is nobody."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise Problem(400, f"the body is a form: {FORM}")
    form = _form(await request.body())
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise Problem(400, "a client proves itself once: the header Authorization comes twice")
    if not given:
        request.state.receiver_id = form.get("client_id")
        return ClientRequest(form, form.get("client_id", ""), form.get("client_secret", ""))
    if "client_secret" in form:
        raise Problem(400, "a client proves itself once: in the header or in the form (RFC 6749 §2.3)")
    client_id, secret = _basic(given[0])
    request.state.receiver_id = client_id
    if form.get("client_id", client_id) != client_id:
        raise Problem(400, "client_id: the header names another")
    return ClientRequest(form, client_id, secret)


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_MEMBERS)
    except ValueError:  # not UTF-8, or too many members
        raise Problem(400, "the form cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Problem(400, "a member of the form comes twice")
    return form


def _basic(header: str) -> tuple[str, str]:
    """Name and secret, each form-urlencoded before they were put together (RFC 6749 §2.3.1).

    Neither ever holds a blank, so a plus is one: of a client that encodes nothing, as curl does.
    """
    scheme, _, value = header.partition(" ")
    try:
        given = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:  # neither base64 nor UTF-8
        raise not_known() from None
    client_id, colon, secret = given.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise not_known()
    return unquote(client_id), unquote(secret)


@dataclass(frozen=True, slots=True)
class AuthenticatedClient:
    """A client that proved itself, and its form."""

    receiver: Receiver
    form: Mapping[str, str] = field(repr=False)


async def _proved(request: Request) -> AuthenticatedClient:
    clients: ClientAuthenticator = request.app.state.clients
    caller = caller_key(request.scope)
    try:
        asked = await _asked(request)
    except Problem:
        clients.refused(caller)
        raise
    receiver = await run_in_threadpool(clients.check, asked.client_id, asked.secret, caller)
    request.state.caller = receiver
    return AuthenticatedClient(receiver, asked.form)


Client = Annotated[AuthenticatedClient, Depends(_proved)]

_MEMBERS: Final = {
    "client_id_": "If it is not in the header Authorization: Basic.",
    "client_secret_": "If it is not in the header Authorization: Basic.",
}
_HOW: Final[dict[str, Any]] = {"security": [{"client": []}, {}]}


@router.post(
    TOKEN,
    operation_id="issue_token",
    responses=refusals(400, 401),
    openapi_extra={
        **form_body(grant_type="client_credentials", scope_="Words with blanks between.", **_MEMBERS),
        **_HOW,
    },
)
async def issue(client: Client, services: WithServices, response: Response) -> AccessToken:
    """Give a client a token that is good for a while (RFC 6749 §4.4)."""
    response.headers.update({**NO_STORE, "Pragma": "no-cache"})
    return await run_in_threadpool(_issue, services, client)


@router.post(
    REVOKE,
    operation_id="revoke_token",
    response_class=Response,
    responses=refusals(400, 401),
    openapi_extra={
        **form_body(token="What is to be taken back.", token_type_hint_="Not needed.", **_MEMBERS),  # noqa: S106 - a text
        **_HOW,
    },
)
async def revoke(client: Client, services: WithServices) -> Response:
    """Take a token back (RFC 7009 §2). One that is not the client's stays, and the answer is the same."""
    await run_in_threadpool(_revoke, services, client)
    return Response(status_code=200, headers=NO_STORE)


def _issue(services: Services, client: AuthenticatedClient) -> AccessToken:
    receiver, form = client.receiver, client.form
    grant = form.get("grant_type")
    if grant is None:
        raise Problem(400, "grant_type: a value is missing")
    if grant != "client_credentials":
        raise Problem(400, "grant_type: client_credentials is the one there is", "unsupported_grant_type")
    scopes = set(form.get("scope", "").split()) or receiver.scopes
    if not all(receiver.may(scope) for scope in scopes):
        raise Problem(400, f"scope: this client may have {' '.join(sorted(receiver.scopes))}", "invalid_scope")
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
