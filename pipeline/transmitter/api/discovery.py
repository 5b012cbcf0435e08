"""What a receiver finds that knows only the issuer: the configuration document (SSF 1.0 §7) and the keys."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from pipeline.transmitter import protocol
from pipeline.transmitter.api import paths
from pipeline.transmitter.api.auth import WithServices
from pipeline.transmitter.api.openapi import refusals
from pipeline.transmitter.api.paths import Addresses
from pipeline.transmitter.services import Services

KEPT: Final = {"Cache-Control": "public, max-age=60"}
"""After a rotation, a receiver with a copy of the old keys is wrong no longer than this."""
PULSE_MS: Final = 1000
"""So long what was seen of the store is what is answered of it."""


class Scheme(BaseModel):
    """A way to authorize (SSF 1.0 §7.1.1)."""

    spec_urn: str = Field(examples=["urn:ietf:rfc:6749"])


class TransmitterConfiguration(BaseModel):
    """SSF 1.0 §7.1. Members without a value are left out (§7.2.3)."""

    spec_version: str = Field("1_0", description="The version of SSF.")
    issuer: str = Field(examples=["https://risk.example.com"])
    jwks_uri: str = Field(examples=["https://risk.example.com/jwks.json"])
    delivery_methods_supported: list[str] = Field(examples=[[protocol.PUSH, protocol.POLL]])
    configuration_endpoint: str
    status_endpoint: str
    verification_endpoint: str
    add_subject_endpoint: str
    remove_subject_endpoint: str
    authorization_schemes: list[Scheme]
    default_subjects: Literal["ALL", "NONE"] = "ALL"


class Keys(BaseModel):
    """A JWK Set (RFC 7517 §5): public keys only."""

    keys: list[dict[str, Any]] = Field(
        examples=[[{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k-1", "n": "…", "e": "AQAB"}]]
    )


class Health(BaseModel):
    """That this process answers, and its store too."""

    status: Literal["ok"] = "ok"


class StoreHealth:
    """Looks whether the store answers, once in `PULSE_MS` however many ask: this is asked without any bound.

    All who ask while it looks wait for the same look, which takes one thread however long the store does.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looked_at = 0
        self._look: asyncio.Task[None] | None = None

    async def felt(self) -> None:
        """Return if the store answers; raises `StoreError` if it does not."""
        now_ms = self._services.clock()
        if self._look is None or (self._look.done() and not 0 <= now_ms - self._looked_at < PULSE_MS):
            self._looked_at = now_ms
            self._look = asyncio.create_task(run_in_threadpool(self._ask))
        await asyncio.shield(self._look)

    def _ask(self) -> None:
        with self._services.store.read() as conn:
            conn.execute(text("SELECT 1"))


router = APIRouter(tags=["discovery"])


def configuration(services: WithServices, response: Response) -> TransmitterConfiguration:
    """Tell where everything is (SSF 1.0 §7)."""
    response.headers.update(KEPT)
    at = Addresses(services.settings.issuer)
    return TransmitterConfiguration(
        issuer=services.settings.issuer,
        jwks_uri=at.url(paths.JWKS),
        delivery_methods_supported=[protocol.PUSH, protocol.POLL],
        configuration_endpoint=at.url(paths.STREAM),
        status_endpoint=at.url(paths.STATUS),
        verification_endpoint=at.url(paths.VERIFY),
        add_subject_endpoint=at.url(paths.ADD_SUBJECT),
        remove_subject_endpoint=at.url(paths.REMOVE_SUBJECT),
        authorization_schemes=[Scheme(spec_urn="urn:ietf:rfc:6749"), Scheme(spec_urn="urn:ietf:rfc:6750")],
    )


@router.get(paths.JWKS, operation_id="read_keys", responses=refusals())
def keys(services: WithServices, response: Response) -> Keys:
    """Give the public keys: those that sign, and retired ones while something they signed waits."""
    response.headers.update(KEPT)
    with services.store.read() as conn:
        return Keys(**services.signer.jwks(conn))


@router.get(paths.HEALTH, operation_id="read_health", responses=refusals())
async def health(request: Request) -> Health:
    """Say that this process answers, and its store too."""
    pulse: StoreHealth = request.app.state.pulse
    await pulse.felt()
    return Health()
